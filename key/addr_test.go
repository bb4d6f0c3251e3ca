package key_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/uprung/uprung/key"
)

// arriving is a request from a peer, with header lines "Name: value".
func arriving(peer string, lines ...string) *http.Request {
	r := &http.Request{RemoteAddr: peer, Header: http.Header{}}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// expect fails the test unless f gives the wanted key; "" stands for none.
func expect(t *testing.T, f key.Func, r *http.Request, want string) {
	t.Helper()
	if got, ok := f(r); got != want || ok != (want != "") {
		t.Errorf("peer %q, header %q: got %q, %v; want %q", r.RemoteAddr, r.Header, got, ok, want)
	}
}

// made unwraps what a constructor returns.
func made(t testing.TB) func(key.Func, error) key.Func {
	return func(f key.Func, err error) key.Func {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
}

func TestDirectReadsThePeer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ peer, want string }{
		{"203.0.113.7:54321", "203.0.113.7"},
		{"203.0.113.7", "203.0.113.7"},
		{"0.0.0.0:1", "0.0.0.0"},
		{"[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64"},
		{"[2001:DB8:1:2::]", "2001:db8:1:2::/64"},
		{"2001:db8:1:2::5", "2001:db8:1:2::/64"},
		{"[::1]:80", "::/64"},
		{"[fe80::1%eth0]:80", "fe80::/64"},
		{"[::ffff:203.0.113.7]:80", "203.0.113.7"},
		{"[::ffff:203.0.113.7%eth0]:80", "203.0.113.7"},
		{"", ""},
		{"@", ""},
		{"/run/app.sock", ""},
		{"localhost:80", ""},
		{"203.0.113.07:80", ""},
		{"203.0.113.7:", ""},
		{"203.0.113.7:http", ""},
		{"203.0.113.7.1:80", ""},
		{" 203.0.113.7:80", ""},
		{"[2001:db8::1", ""},
		{"[2001:db8::1]80", ""},
		{"[2001:db8::1]:80:81", ""},
		{"[]:80", ""},
		{":80", ""},
	} {
		expect(t, key.Direct(nil), arriving(tt.peer), tt.want)
	}
}

// GHSA-9g5q-2w5x-hmxf, GHSA-rjr7-jggh-pgcp and GHSA-3fxj-6jh8-hvhx: chi's RealIP
// believed these headers from anybody, and limiters of several libraries still
// do.
func TestDirectReadsNoHeader(t *testing.T) {
	t.Parallel()
	for i := range 100 {
		forged := fmt.Sprintf("192.0.2.%d", i)
		expect(t, key.Direct(nil), arriving("203.0.113.7:54321",
			"X-Forwarded-For: "+forged, "X-Real-IP: "+forged, "True-Client-IP: "+forged,
			"CF-Connecting-IP: "+forged, "Forwarded: for="+forged), "203.0.113.7")
	}
}

// Three of four limiters measured count each address of a /64 apart.
func TestSameIPv6PrefixIsOneKey(t *testing.T) {
	t.Parallel()
	for i := range 1000 {
		peer := fmt.Sprintf("[2001:db8:1:2:%x:%x::%x]:%d", i, i*7, i*31, 1024+i)
		expect(t, key.Direct(nil), arriving(peer), "2001:db8:1:2::/64")
	}
	expect(t, key.Direct(nil), arriving("[2001:db8:1:3::1]:1"), "2001:db8:1:3::/64")
}

// A dual-stack socket reports IPv4 clients in mapped form: with two spellings,
// each client has two budgets.
func TestMappedIPv4IsOneKey(t *testing.T) {
	t.Parallel()
	proxied := made(t)(key.Proxied([]string{"10.0.0.0/8"}, nil))
	for _, spelling := range []string{
		"203.0.113.7", "203.0.113.7:80", "::ffff:203.0.113.7", "::FFFF:CB00:7107", "[::ffff:203.0.113.7]:80",
	} {
		expect(t, key.Direct(nil), arriving(spelling), "203.0.113.7")
		for _, proxy := range []string{"10.0.0.1:1", "[::ffff:10.0.0.1]:1"} {
			expect(t, proxied, arriving(proxy, "X-Forwarded-For: "+spelling), "203.0.113.7")
		}
	}
}

func TestAddrOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o        key.AddrOptions
		addr     string
		want     string
		wantFull bool // the key is an address and not a prefix
	}{
		{key.AddrOptions{}, "203.0.113.7", "203.0.113.7", true},
		{key.AddrOptions{IPv4Prefix: 24}, "203.0.113.7", "203.0.113.0/24", false},
		{key.AddrOptions{IPv4Prefix: 24}, "::ffff:203.0.113.7", "203.0.113.0/24", false},
		{key.AddrOptions{IPv4Prefix: 1}, "203.0.113.7", "128.0.0.0/1", false},
		{key.AddrOptions{IPv6Prefix: 48}, "2001:db8:1:2::1", "2001:db8:1::/48", false},
		{key.AddrOptions{IPv6Prefix: 48}, "203.0.113.7", "203.0.113.7", true},
		{key.AddrOptions{IPv6Prefix: 128}, "2001:db8:1:2::1%eth0", "2001:db8:1:2::1", true},
		{key.AddrOptions{IPv6Prefix: 1}, "ffff::1", "8000::/1", false},
	} {
		if err := tt.o.Validate(); err != nil {
			t.Errorf("%+v: %v", tt.o, err)
		}
		got, ok := key.Addr(netip.MustParseAddr(tt.addr), &tt.o)
		if got != tt.want || !ok || strings.Contains(got, "/") == tt.wantFull {
			t.Errorf("Addr(%s, %+v) = %q, %v; want %q", tt.addr, tt.o, got, ok, tt.want)
		}
		expect(t, key.Direct(&tt.o), arriving(tt.addr), tt.want)
	}
	if got, ok := key.Addr(netip.Addr{}, nil); got != "" || ok {
		t.Errorf("the zero Addr has key %q, %v", got, ok)
	}
}

func TestAddrOptionsOutOfRange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o    key.AddrOptions
		want string
	}{
		{key.AddrOptions{IPv6Prefix: 129}, "key: IPv6Prefix is 129, want 1 to 128, or 0 for 64"},
		{key.AddrOptions{IPv4Prefix: -1}, "key: IPv4Prefix is -1, want 1 to 32, or 0 for 32"},
		{key.AddrOptions{IPv6Prefix: -1, IPv4Prefix: 33}, "key: IPv6Prefix is -1, want 1 to 128, or 0 for 64\nkey: IPv4Prefix is 33, want 1 to 32, or 0 for 32"},
	} {
		if err := tt.o.Validate(); err == nil || err.Error() != tt.want {
			t.Errorf("Validate of %+v is %v, want %s", tt.o, err, tt.want)
		}
		if got, ok := key.Addr(netip.MustParseAddr("203.0.113.7"), &tt.o); ok {
			t.Errorf("Addr with %+v is %q", tt.o, got)
		}
		_, xffErr := key.Proxied([]string{"10.0.0.0/8"}, &tt.o)
		_, fieldErr := key.ProxyHeader("X-Real-IP", []string{"10.0.0.0/8"}, &tt.o)
		for _, err := range []error{xffErr, fieldErr} {
			if err == nil || err.Error() != tt.want {
				t.Errorf("with %+v: got %v, want %s", tt.o, err, tt.want)
			}
		}
		panics(t, tt.want, func() { key.Direct(&tt.o) })
	}
}

// panics fails the test unless f panics with a text that contains want.
func panics(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
			t.Errorf("panic with %q, want %q", got, want)
		}
	}()
	f()
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	o, trusted := &key.AddrOptions{IPv4Prefix: 24}, []string{"10.0.0.0/8"}
	direct, proxied := key.Direct(o), made(t)(key.Proxied(trusted, o))
	o.IPv4Prefix, trusted[0] = 8, "192.0.2.0/24"
	expect(t, direct, arriving("203.0.113.7:1"), "203.0.113.0/24")
	expect(t, proxied, arriving("10.0.0.1:1", "X-Forwarded-For: 203.0.113.7"), "203.0.113.0/24")
}

func TestAddressAllocations(t *testing.T) {
	proxied := made(t)(key.Proxied([]string{"10.0.0.0/8"}, nil))
	header := made(t)(key.ProxyHeader("CF-Connecting-IP", []string{"10.0.0.0/8"}, nil))
	forwarded := made(t)(key.Forwarded([]string{"10.0.0.0/8"}, nil))
	for _, tt := range []struct {
		name string
		f    key.Func
		r    *http.Request
		most float64
	}{
		{"direct IPv4", key.Direct(nil), arriving("203.0.113.7:54321"), 0},
		{"direct IPv6", key.Direct(nil), arriving("[2001:db8::1]:54321"), 1},
		{"proxied", proxied, arriving("10.0.0.1:1", "X-Forwarded-For: 192.0.2.1, 203.0.113.7, 10.0.0.2"), 1},
		{"forwarded", forwarded, arriving("10.0.0.1:1", `Forwarded: for="[2001:db8::1]:80";proto=https, for=10.0.0.2`), 1},
		{"header", header, arriving("10.0.0.1:1", "CF-Connecting-IP: 203.0.113.7"), 1},
	} {
		if got := testing.AllocsPerRun(100, func() { tt.f(tt.r) }); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.most)
		}
	}
}

// checkCanonical fails the test unless an address key is written in the only way
// there is, and is its own key.
func checkCanonical(t *testing.T, got string) {
	t.Helper()
	if addr, err := netip.ParseAddr(got); err == nil {
		if addr.String() != got || addr.Zone() != "" || addr.Is4In6() {
			t.Errorf("%q is not canonical", got)
		}
		if again, ok := key.Direct(&key.AddrOptions{IPv6Prefix: 128})(arriving(got)); again != got || !ok {
			t.Errorf("the key of %q is %q", got, again)
		}
		return
	}
	prefix, err := netip.ParsePrefix(got)
	if err != nil || prefix.Masked().String() != got || prefix.Addr().Is4In6() {
		t.Errorf("%q is not canonical, %v", got, err)
		return
	}
	o := &key.AddrOptions{IPv6Prefix: prefix.Bits()}
	if again, ok := key.Addr(prefix.Addr(), o); again != got || !ok {
		t.Errorf("the key of %q is %q", got, again)
	}
}

func FuzzDirect(f *testing.F) {
	for _, peer := range []string{
		"203.0.113.7:54321", "[2001:db8::1%eth0]:80", "::ffff:1.2.3.4", "[::]", "@", "1.2.3.4:_x", "[1.2.3.4]:5", "fe80::1%a:b",
	} {
		f.Add(peer, 0)
		f.Add(peer, 128)
	}
	f.Fuzz(func(t *testing.T, peer string, bits int) {
		o := &key.AddrOptions{IPv6Prefix: bits}
		if o.Validate() != nil {
			o = nil
		}
		got, ok := key.Direct(o)(arriving(peer))
		if ok != (got != "") {
			t.Fatalf("got %q, %v", got, ok)
		}
		if ok {
			checkCanonical(t, got)
		}
	})
}

// An IPv4 client behind a translator is the IPv4 client, not one with all others.
func TestTranslatedIPv4IsItsOwnKey(t *testing.T) {
	t.Parallel()
	for peer, want := range map[string]string{
		"[64:ff9b::cb00:7107]:1":   "203.0.113.7",
		"[64:ff9b::cb00:7108]:1":   "203.0.113.8",
		"[64:ff9b:1::cb00:7107]:1": "64:ff9b:1::/64",
	} {
		if got, ok := key.Direct(nil)(arriving(peer)); got != want || !ok {
			t.Errorf("%s: got %q, %v; want %q", peer, got, ok, want)
		}
	}
}
