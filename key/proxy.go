package key

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// unixPeer is the entry of a list of trusted proxies for peers that connect
// through a Unix socket of the server.
const unixPeer = "unix"

// Proxied is the client address for a server behind reverse proxies that append
// the address of their peer to X-Forwarded-For, as nearly all do. trusted are
// the proxies: CIDR prefixes, single addresses, or "unix" for peers that connect
// through a Unix socket. It must name every proxy between the outermost and the
// server, and should name nothing else: whoever has a trusted address can claim
// to be anybody.
//
// The way back to the client begins at the peer of the socket. As long as the
// hop it has reached is trusted, it goes on to the address that this hop
// appended, from the right end of the last X-Forwarded-For line to the left end
// of the first. The key is the address of the hop where that ends:
//
//   - at the first hop that is not trusted, which is the client, so that what
//     clients write into the header themselves is never read, and at the peer
//     itself if it is not trusted;
//   - at the leftmost address, if all are trusted: a client of the inside;
//   - before a part that is empty or no address ("unknown"): what was written
//     under an unknown name counts for the proxy that wrote it.
//
// A request has no key only if that hop has no address, that is, if its peer is
// not on the Internet.
//
// Proxied returns an error that names every trusted entry and option that is
// not valid. No entries at all are an error, as is an entry that trusts
// everybody.
func Proxied(trusted []string, o *AddrOptions) (Func, error) {
	return newProxied("X-Forwarded-For", lastOfList, trusted, o)
}

// proxied finds the client of a request that came through proxies.
type proxied struct {
	trust
	widths
	field string                                           // canonical name
	last  func(list string) (rest, node string, more bool) // cuts off the last node
}

func newProxied(field string, last func(string) (string, string, bool), trusted []string, o *AddrOptions) (Func, error) {
	t, trustErr := parseTrust(trusted)
	w, err := o.widths()
	if err := errors.Join(trustErr, err); err != nil {
		return nil, err
	}
	p := &proxied{trust: t, widths: w, field: field, last: last}
	return func(r *http.Request) (string, bool) {
		hop, ok := p.peer(r)
		if ok {
			hop = p.walk(hop, r.Header[p.field])
		}
		return p.key(hop)
	}, nil
}

// walk goes from a trusted hop towards the client.
func (p *proxied) walk(hop netip.Addr, lines []string) netip.Addr {
	for _, list := range slices.Backward(lines) {
		for more := true; more; {
			var node string
			list, node, more = p.last(list)
			before, ok := parseAddr(node)
			if !ok {
				return hop
			}
			if hop = before; !p.trusts(hop) {
				return hop
			}
		}
	}
	return hop
}

// lastOfList cuts the last part off a comma-separated list.
func lastOfList(list string) (rest, node string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], trimSpace(list[i+1:]), i >= 0
}

// trimSpace removes the optional whitespace of RFC 9110, section 5.6.3.
func trimSpace(s string) string { return strings.Trim(s, " \t") }

// ProxyHeader is the client address for a server behind one known proxy that
// writes it into a field of its own: CF-Connecting-IP, Fly-Client-IP,
// True-Client-IP, X-Real-IP. trusted are the addresses from which this proxy
// connects, as for [Proxied].
//
// The field is read only if the peer of the socket is trusted; the key of any
// other request, which has gone around the proxy, is the address of its peer.
// Only the last value counts, because a proxy that adds a field instead of
// setting it leaves the client's before its own. If a trusted peer sends no such
// field, or its last value is no address, the request has no key: such are the
// proxy's own health checks, and a deployment that was not understood.
//
// ProxyHeader returns an error that names everything that is not valid, as
// [Proxied] does.
func ProxyHeader(name string, trusted []string, o *AddrOptions) (Func, error) {
	t, trustErr := parseTrust(trusted)
	w, err := o.widths()
	if err := errors.Join(checkToken("name", name), trustErr, err); err != nil {
		return nil, err
	}
	name = http.CanonicalHeaderKey(name)
	return func(r *http.Request) (string, bool) {
		peer, ok := t.peer(r)
		if !ok {
			return w.key(peer)
		}
		lines := r.Header[name]
		if len(lines) == 0 {
			return "", false
		}
		_, node, _ := lastOfList(lines[len(lines)-1])
		client, _ := parseAddr(node)
		return w.key(client)
	}, nil
}

// trust is a set of proxies.
type trust struct {
	prefixes []netip.Prefix
	unix     bool
}

func parseTrust(trusted []string) (trust, error) {
	if len(trusted) == 0 {
		return trust{}, errors.New("key: trusted is empty, want the addresses of the proxies; without a proxy, use Direct")
	}
	var t trust
	var errs []error
	for i, entry := range trusted {
		if entry == unixPeer {
			t.unix = true
			continue
		}
		prefix, want := parsePrefix(entry)
		if want != "" {
			errs = append(errs, fmt.Errorf("key: trusted[%d] is %q, want %s", i, entry, want))
			continue
		}
		t.prefixes = append(t.prefixes, prefix)
	}
	return t, errors.Join(errs...)
}

// parsePrefix reads an entry of a list of proxies, or says what it should be.
func parsePrefix(entry string) (prefix netip.Prefix, want string) {
	if addr, err := netip.ParseAddr(entry); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), ""
	}
	prefix, err := netip.ParsePrefix(entry)
	if err != nil {
		return prefix, "a CIDR prefix, an address without a zone, or unix"
	}
	if masked := prefix.Masked(); masked != prefix {
		return prefix, fmt.Sprintf("%q or %q", masked, prefix.Addr())
	}
	if prefix.Addr().Is4In6() { // what is left of 128 bits after ::ffff:0:0/96
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	if prefix.Bits() == 0 {
		return prefix, "the proxies and not everybody"
	}
	return prefix, ""
}

// trusts reports whether an address is a proxy's.
func (t *trust) trusts(addr netip.Addr) bool {
	for _, prefix := range t.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// peer returns the address of the socket's peer and whether it is a proxy's. A
// peer without an address is trusted if it came through a Unix socket, and those
// are.
func (t *trust) peer(r *http.Request) (addr netip.Addr, trusted bool) {
	if addr, ok := parseAddr(r.RemoteAddr); ok {
		return addr, t.trusts(addr)
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return netip.Addr{}, t.unix && ok && local.Network() == "unix"
}
