package key_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/uprung/uprung/key"
)

func ExampleProxied() {
	client, err := key.Proxied([]string{"10.0.0.0/8", "unix"}, &key.AddrOptions{IPv6Prefix: 56})
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "10.0.0.1:40000"
	r.Header.Set("X-Forwarded-For", "192.0.2.1, 2001:db8:1:2::3, 10.0.0.2") // the client wrote 192.0.2.1
	fmt.Println(client(r))

	r.RemoteAddr = "203.0.113.7:40000" // around the proxies
	fmt.Println(client(r))

	_, err = key.Proxied([]string{"10.0.0.0/33", "0.0.0.0/0"}, nil)
	fmt.Println(err)
	// Output:
	// 2001:db8:1::/56 true
	// 203.0.113.7 true
	// key: trusted[0] is "10.0.0.0/33", want a CIDR prefix, an address without a zone, or unix
	// key: trusted[1] is "0.0.0.0/0", want the proxies and not everybody
}

func ExampleForwarded() {
	client, err := key.Forwarded([]string{"10.0.0.0/8"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "10.0.0.1:40000"
	r.Header.Set("Forwarded", `for=192.0.2.1, for="[2001:db8:1:2::3]:4711";proto=https, for=10.0.0.2`)
	fmt.Println(client(r))
	// Output: 2001:db8:1:2::/64 true
}

func ExampleAddr() {
	peer := netip.MustParseAddr("::ffff:203.0.113.7")
	fmt.Println(key.Addr(peer, nil))
	fmt.Println(key.Addr(peer, &key.AddrOptions{IPv4Prefix: 24}))
	// Output:
	// 203.0.113.7 true
	// 203.0.113.0/24 true
}

func ExampleDirect() {
	client := key.Direct(nil)
	for _, peer := range []string{"203.0.113.7:40000", "[2001:db8:1:2:3:4:5:6]:40000"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		fmt.Println(client(r))
	}
	// Output:
	// 203.0.113.7 true
	// 2001:db8:1:2::/64 true
}

func ExampleProxyHeader() {
	client, err := key.ProxyHeader("CF-Connecting-IP", []string{"173.245.48.0/20", "2400:cb00::/32"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "173.245.48.5:40000"
	r.Header.Set("CF-Connecting-IP", "203.0.113.7")
	fmt.Println(client(r))
	// Output: 203.0.113.7 true
}
