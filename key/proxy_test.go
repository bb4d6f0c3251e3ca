package key_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/uprung/uprung/key"
)

func TestProxiedWalksFromTheRight(t *testing.T) {
	t.Parallel()
	f := made(t)(key.Proxied([]string{"10.0.0.0/8", "2001:db8:ff::1", "::ffff:172.16.0.0/108"}, nil))
	for _, tt := range []struct {
		name, peer string
		lines      []string
		want       string
	}{
		{"one proxy", "10.0.0.1:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"a chain", "10.0.0.1:1", []string{"203.0.113.7, 2001:db8:ff::1,172.16.9.9"}, "203.0.113.7"},
		{"a chain over lines", "10.0.0.1:1", []string{"192.0.2.1", "203.0.113.7, 10.0.0.3", "10.0.0.2"}, "203.0.113.7"},
		{"an IPv6 proxy", "[2001:db8:ff::1]:1", []string{"2001:db8:1::1"}, "2001:db8:1::/64"},
		{"its neighbour", "[2001:db8:ff::2]:1", []string{"203.0.113.7"}, "2001:db8:ff::/64"},
		{"a client that forges", "10.0.0.1:1", []string{"10.0.0.9, 192.0.2.1, 203.0.113.7, 10.0.0.2"}, "203.0.113.7"},
		{"around the proxy", "203.0.113.7:1", []string{"192.0.2.1"}, "203.0.113.7"},
		{"no header", "10.0.0.1:1", nil, "10.0.0.1"},
		{"a client of the inside", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"ports, brackets, zones", "10.0.0.1:1", []string{"[2001:db8::1%eth0]:443 , 10.0.0.2:80"}, "2001:db8::/64"},
		{"an unknown client", "10.0.0.1:1", []string{"192.0.2.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"garbage from the client", "10.0.0.1:1", []string{"<script>, 203.0.113.7"}, "203.0.113.7"},
		{"garbage at once", "10.0.0.1:1", []string{"192.0.2.1, 999.0.0.1"}, "10.0.0.1"},
		{"an empty part", "10.0.0.1:1", []string{"192.0.2.1, , 10.0.0.2"}, "10.0.0.2"},
		{"an empty end", "10.0.0.1:1", []string{"192.0.2.1,"}, "10.0.0.1"},
		{"an empty line", "10.0.0.1:1", []string{"192.0.2.1", ""}, "10.0.0.1"},
		{"an empty line of the client's", "10.0.0.1:1", []string{"", "203.0.113.7"}, "203.0.113.7"},
		{"an empty start", "10.0.0.1:1", []string{", 10.0.0.2"}, "10.0.0.2"},
		{"no peer", "@", []string{"203.0.113.7"}, ""},
	} {
		r := arriving(tt.peer)
		r.Header["X-Forwarded-For"] = tt.lines
		if got, ok := f(r); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: got %q, %v; want %q", tt.name, got, ok, tt.want)
		}
	}
}

// GHSA-9g5q-2w5x-hmxf: with the leftmost address, which the client writes, every
// request comes from somebody else.
func TestRotatingForwardedForIsOneKey(t *testing.T) {
	t.Parallel()
	proxied := made(t)(key.Proxied([]string{"10.0.0.0/8"}, nil))
	forwarded := made(t)(key.Forwarded([]string{"10.0.0.0/8"}, nil))
	header := made(t)(key.ProxyHeader("X-Real-IP", []string{"10.0.0.0/8"}, nil))
	for i := range 200 {
		forged := []string{
			fmt.Sprintf("192.0.2.%d", i), fmt.Sprintf("10.0.0.%d", i), fmt.Sprintf("[2001:db8:%x::1]", i), "\"", "unknown",
		}[i%5]
		for _, lines := range [][]string{
			{"X-Forwarded-For: " + forged + ", 203.0.113.7"},
			{"X-Forwarded-For: " + forged, "X-Forwarded-For: 203.0.113.7"},
		} {
			expect(t, proxied, arriving("10.0.0.1:1", lines...), "203.0.113.7")
		}
		expect(t, forwarded, arriving("10.0.0.1:1", "Forwarded: for="+forged+", for=203.0.113.7"), "203.0.113.7")
		// GHSA-gcfq-8gqf-4876: a balancer that adds X-Real-IP instead of setting it
		// leaves the client's in front.
		expect(t, header, arriving("10.0.0.1:1", "X-Real-IP: "+forged, "X-Real-IP: 203.0.113.7"), "203.0.113.7")
		for _, f := range []key.Func{proxied, forwarded, header} {
			expect(t, f, arriving("203.0.113.7:1", "X-Forwarded-For: "+forged, "Forwarded: for="+forged, "X-Real-IP: "+forged), "203.0.113.7")
		}
	}
}

func TestProxyHeader(t *testing.T) {
	t.Parallel()
	f := made(t)(key.ProxyHeader("cf-connecting-ip", []string{"198.51.100.0/24"}, nil))
	for _, tt := range []struct {
		peer  string
		lines []string
		want  string
	}{
		{"198.51.100.9:1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"198.51.100.9:1", []string{"2001:db8:1:2:3::4"}, "2001:db8:1:2::/64"},
		{"198.51.100.9:1", []string{"192.0.2.1", "203.0.113.7"}, "203.0.113.7"},
		{"198.51.100.9:1", []string{"192.0.2.1, 203.0.113.7"}, "203.0.113.7"}, // lines that something has merged
		{"198.51.100.9:1", nil, ""},
		{"198.51.100.9:1", []string{""}, ""},
		{"198.51.100.9:1", []string{"203.0.113.7", ""}, ""},
		{"198.51.100.9:1", []string{"203.0.113.7,"}, ""},
		{"198.51.100.9:1", []string{"203.0.113.7", "garbage"}, ""},
		{"203.0.113.7:1", []string{"192.0.2.1"}, "203.0.113.7"},
		{"@", []string{"203.0.113.7"}, ""},
	} {
		r := arriving(tt.peer)
		r.Header["Cf-Connecting-Ip"] = tt.lines
		expect(t, f, r, tt.want)
	}
}

// A proxy on the same machine may come through a Unix socket, whose peers have
// no address.
func TestUnixSocketPeers(t *testing.T) {
	t.Parallel()
	over := func(network net.Addr, peer string, lines ...string) *http.Request {
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, network)
		return arriving(peer, lines...).WithContext(ctx)
	}
	unix, tcp := &net.UnixAddr{Name: "/run/app.sock", Net: "unix"}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	trusting := made(t)(key.Proxied([]string{"unix", "10.0.0.0/8"}, nil))
	header := made(t)(key.ProxyHeader("X-Real-IP", []string{"unix"}, nil))
	distrusting := made(t)(key.Proxied([]string{"10.0.0.0/8"}, nil))

	expect(t, trusting, over(unix, "@", "X-Forwarded-For: 192.0.2.1, 203.0.113.7, 10.0.0.2"), "203.0.113.7")
	expect(t, trusting, over(unix, "", "X-Forwarded-For: 203.0.113.7"), "203.0.113.7")
	expect(t, trusting, over(unix, "@"), "")
	expect(t, trusting, over(unix, "@", "X-Forwarded-For: unknown"), "")
	expect(t, trusting, over(tcp, "@", "X-Forwarded-For: 203.0.113.7"), "")
	expect(t, trusting, arriving("@", "X-Forwarded-For: 203.0.113.7"), "")
	expect(t, header, over(unix, "@", "X-Real-IP: 203.0.113.7"), "203.0.113.7")
	expect(t, header, over(unix, "@"), "")
	expect(t, distrusting, over(unix, "@", "X-Forwarded-For: 203.0.113.7"), "")
	expect(t, key.Direct(nil), over(unix, "@", "X-Forwarded-For: 203.0.113.7"), "")
}

func TestTrustedIsChecked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		trusted []string
		want    string // "" for a valid list
	}{
		{[]string{"10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "2001:db8::1", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "unix"}, ""},
		{nil, "key: trusted is empty, want the addresses of the proxies; without a proxy, use Direct"},
		{[]string{"10.0.0.0/33"}, `key: trusted[0] is "10.0.0.0/33", want a CIDR prefix, an address without a zone, or unix`},
		{[]string{"10.0.0.0/8", ""}, `key: trusted[1] is "", want a CIDR prefix, an address without a zone, or unix`},
		{[]string{"fe80::1%eth0"}, `key: trusted[0] is "fe80::1%eth0", want a CIDR prefix, an address without a zone, or unix`},
		{[]string{"10.1.2.3/8"}, `key: trusted[0] is "10.1.2.3/8", want "10.0.0.0/8" or "10.1.2.3"`},
		{[]string{"0.0.0.0/0"}, `key: trusted[0] is "0.0.0.0/0", want the proxies and not everybody`},
		{[]string{"::/0"}, `key: trusted[0] is "::/0", want the proxies and not everybody`},
		{[]string{"::ffff:0.0.0.0/96"}, `key: trusted[0] is "::ffff:0.0.0.0/96", want the proxies and not everybody`},
		{[]string{"proxy", "10.0.0.1", "*"}, `key: trusted[0] is "proxy", want a CIDR prefix, an address without a zone, or unix` +
			"\n" + `key: trusted[2] is "*", want a CIDR prefix, an address without a zone, or unix`},
	} {
		_, proxied := key.Proxied(tt.trusted, nil)
		_, forwarded := key.Forwarded(tt.trusted, nil)
		_, header := key.ProxyHeader("X-Real-IP", tt.trusted, nil)
		for _, err := range []error{proxied, forwarded, header} {
			if got := fmt.Sprint(err); got != tt.want && (err != nil || tt.want != "") {
				t.Errorf("%q: got %s, want %q", tt.trusted, got, tt.want)
			}
		}
	}
	_, err := key.ProxyHeader("X-Real-IP:", nil, &key.AddrOptions{IPv4Prefix: 64})
	for _, want := range []string{`name is "X-Real-IP:", want a token without ':'`, "trusted is empty", "IPv4Prefix is 64"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want it to say %s", err, want)
		}
	}
	if _, err := key.ProxyHeader("", []string{"unix"}, nil); err == nil {
		t.Error("a field without a name is accepted")
	}
}

// modelClient is the walk as its documentation tells it, with every hop written
// out first.
func modelClient(peer netip.Addr, trusted netip.Prefix, lines []string) netip.Addr {
	hops := []string{}
	for _, line := range lines {
		hops = append(hops, strings.Split(line, ",")...)
	}
	slices.Reverse(hops)
	path := []netip.Addr{peer}
	for _, hop := range hops {
		addr, err := netip.ParseAddr(strings.Trim(hop, " \t"))
		if err != nil {
			break
		}
		path = append(path, addr.Unmap())
	}
	for _, addr := range path {
		if !trusted.Contains(addr) {
			return addr
		}
	}
	return path[len(path)-1]
}

// FuzzProxied compares the walk with its model. The path is spelled by the bytes
// of a seed, so that trusted, foreign and broken hops come in every order.
func FuzzProxied(f *testing.F) {
	words := []string{
		"10.0.0.1", "10.9.9.9", "::ffff:10.0.0.2", "203.0.113.7", "192.0.2.1", "2001:db8::1", "", "unknown", "10.0.0.256",
		",", ", ", "|",
	}
	trusted := netip.MustParsePrefix("10.0.0.0/8")
	proxied := made(f)(key.Proxied([]string{trusted.String()}, &key.AddrOptions{IPv6Prefix: 128}))
	f.Add([]byte{0, 9, 3, 10, 1}, uint8(0))
	f.Add([]byte{0, 9, 11, 9, 6, 9, 2}, uint8(1))
	f.Add([]byte{4, 11, 3, 9, 7, 11, 11, 0}, uint8(2))
	f.Fuzz(func(t *testing.T, path []byte, peer uint8) {
		var spelled strings.Builder
		for _, b := range path {
			spelled.WriteString(words[int(b)%len(words)])
		}
		lines := strings.Split(spelled.String(), "|")
		socket := netip.MustParseAddr(words[peer%6]).Unmap()
		r := arriving(netip.AddrPortFrom(socket, 1).String())
		r.Header["X-Forwarded-For"] = lines
		expect(t, proxied, r, modelClient(socket, trusted, lines).String())
	})
}

// FuzzHeaders gives every constructor any header: keys are canonical, and nobody
// outside of the trusted proxies changes their own.
func FuzzHeaders(f *testing.F) {
	for _, header := range []string{
		"203.0.113.7, 10.0.0.2", "1.2.3.4:80,,", "[::1", `for="[2001:db8::1]:80";by=_x, for=10.0.0.1`, `for="\", for=10.0.0.1`, "fe80::1%a,b",
	} {
		f.Add("10.0.0.1:1", header, "")
		f.Add("203.0.113.7:1", header, header)
	}
	trusted := []string{"10.0.0.0/8", "unix"}
	direct := key.Direct(nil)
	funcs := []key.Func{
		made(f)(key.Proxied(trusted, nil)), made(f)(key.Forwarded(trusted, nil)), made(f)(key.ProxyHeader("X-Real-IP", trusted, nil)),
	}
	f.Fuzz(func(t *testing.T, peer, line1, line2 string) {
		r := arriving(peer)
		for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
			r.Header[name] = []string{line1, line2}
		}
		own, _ := direct(r)
		for i, f := range funcs {
			got, ok := f(r)
			if ok != (got != "") {
				t.Fatalf("func %d: got %q, %v", i, got, ok)
			}
			if !strings.HasPrefix(own, "10.") && got != own {
				t.Errorf("func %d: got %q for an untrusted peer, want %q", i, got, own)
			}
			if ok {
				checkCanonical(t, got)
			}
		}
	})
}
