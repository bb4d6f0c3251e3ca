package key

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// AddrOptions are the settings of keys made of client addresses. Nil means the
// defaults.
type AddrOptions struct {
	// IPv6Prefix is the number of leading bits, 1 to 128, that make a key of an
	// IPv6 address. Zero means 64: a site is given at least a /64 (RFC 6177), so
	// whoever has one IPv6 address has 2^64 of them to choose from.
	IPv6Prefix int

	// IPv4Prefix is the number of leading bits, 1 to 32, that make a key of an
	// IPv4 address. Zero means 32, the whole address.
	IPv4Prefix int
}

// Validate returns an error that names every field that is out of range. It is
// for settings that come from outside of the program.
func (o *AddrOptions) Validate() error {
	_, err := o.widths()
	return err
}

// widths is the checked form of AddrOptions: how many bits of an address count.
type widths struct{ v4, v6 int }

func (o *AddrOptions) widths() (widths, error) {
	w := widths{v4: 32, v6: 64}
	if o == nil {
		return w, nil
	}
	var errs []error
	set := func(name string, width *int, bits, most int) {
		switch {
		case bits < 0 || bits > most:
			errs = append(errs, fmt.Errorf("key: %s is %d, want 1 to %d, or 0 for %d", name, bits, most, *width))
		case bits > 0:
			*width = bits
		}
	}
	set("IPv6Prefix", &w.v6, o.IPv6Prefix, 128)
	set("IPv4Prefix", &w.v4, o.IPv4Prefix, 32)
	return w, errors.Join(errs...)
}

// nat64 is where IPv6 has the addresses of IPv4 clients that a translator stands
// in front of (RFC 6052, section 2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// key writes the part of an address that counts.
func (w widths) key(addr netip.Addr) (string, bool) {
	if !addr.IsValid() {
		return "", false
	}
	if nat64.Contains(addr) {
		bytes := addr.As16()
		addr = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	bits := w.v6
	if addr.Is4() {
		bits = w.v4
	}
	if bits == addr.BitLen() {
		return addr.String(), true
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return "", false
	}
	var text [len("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127")]byte
	return string(prefix.AppendTo(text[:0])), true // String allocates twice
}

// Addr returns the key of an address, as [Direct] and the other constructors
// write it: an IPv4-mapped IPv6 address is the IPv4 address, a zone is left out,
// bits beyond the prefix are zero. The text is canonical (RFC 5952): "203.0.113.7",
// "2001:db8:1:2::/64"; a prefix of full length is written as an address. Addr
// returns false if the address is the zero Addr or the options are not valid.
//
// It is for protocols without an [http.Request].
func Addr(addr netip.Addr, o *AddrOptions) (string, bool) {
	w, err := o.widths()
	if err != nil {
		return "", false
	}
	return w.key(folded(addr))
}

// Direct is the client address for a server that clients reach directly: the
// peer of the socket, from [http.Request.RemoteAddr]. No header is ever read, so
// nobody can choose a key, but behind a proxy all requests have the proxy's.
// (This holds for as long as nothing outside of it rewrites RemoteAddr from a
// header, as chi's RealIP does.) A request without an IP peer, such as one from a
// Unix socket, has no key.
//
// Direct panics if the options are not valid; see [AddrOptions.Validate].
func Direct(o *AddrOptions) Func {
	w, err := o.widths()
	if err != nil {
		panic(err)
	}
	return func(r *http.Request) (string, bool) {
		if w.v4 == 32 {
			if n := lenIPv4(r.RemoteAddr); n > 0 && isPort(r.RemoteAddr[n:]) {
				return r.RemoteAddr[:n], true
			}
		}
		addr, ok := parseAddr(r.RemoteAddr)
		if !ok {
			return "", false
		}
		return w.key(addr)
	}
}

// lenIPv4 returns the length of the IPv4 address with which s begins, and zero
// if it begins with none. There is one way to write an address, and so the text
// can be the key: this is the path of nearly every request, and three times as
// fast as going through [netip.ParseAddr].
func lenIPv4(s string) int {
	dots, value, digits := 0, 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			if digits > 0 && value == 0 { // a leading zero
				return 0
			}
			value = 10*value + int(c-'0')
			if digits++; value > 255 {
				return 0
			}
		case digits == 0:
			return 0
		case c == '.' && dots < 3:
			dots, value, digits = dots+1, 0, 0
		case dots == 3:
			return i
		default:
			return 0
		}
	}
	if dots == 3 && digits > 0 {
		return len(s)
	}
	return 0
}

// parseAddr reads an address as peers and proxies write it: bare, in brackets,
// with a port, with a zone.
func parseAddr(s string) (netip.Addr, bool) {
	host, ok := splitHost(s)
	if !ok {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	return folded(addr), err == nil
}

// folded brings the spellings of one address together.
func folded(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// splitHost cuts brackets and a port off. It returns "" and false for what
// cannot be an address.
func splitHost(s string) (host string, ok bool) {
	port := ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", false
		}
		host, port = s[1:end], s[end+1:]
	} else if colon := strings.IndexByte(s, ':'); colon >= 0 && colon == strings.LastIndexByte(s, ':') {
		host, port = s[:colon], s[colon:] // several colons are an IPv6 address
	} else {
		host = s
	}
	if port != "" && !isPort(port) {
		return "", false
	}
	return host, host != ""
}

// isPort reports whether s is a colon and a port: decimal digits or, from a
// proxy that hides it, an underscore and a name (RFC 7239, section 6.3).
func isPort(s string) bool {
	if len(s) < 2 || s[0] != ':' {
		return false
	}
	obfuscated := s[1] == '_'
	for _, c := range []byte(s[1:]) {
		if (c < '0' || c > '9') && (!obfuscated || !isTokenByte(c)) {
			return false
		}
	}
	return true
}
