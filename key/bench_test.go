package key_test

import (
	"net/http"
	"testing"

	"github.com/uprung/uprung/key"
)

func BenchmarkFunc(b *testing.B) {
	trusted := []string{"10.0.0.0/8"}
	for _, bm := range []struct {
		name string
		f    key.Func
		r    *http.Request
	}{
		{"direct/ipv4", key.Direct(nil), arriving("203.0.113.7:54321")},
		{"direct/ipv6", key.Direct(nil), arriving("[2001:db8:1:2:3:4:5:6]:54321")},
		{"proxied", made(b)(key.Proxied(trusted, nil)), arriving("10.0.0.1:1", "X-Forwarded-For: 192.0.2.1, 203.0.113.7, 10.0.0.2")},
		{"forwarded", made(b)(key.Forwarded(trusted, nil)), arriving("10.0.0.1:1", "Forwarded: for=203.0.113.7;proto=https, for=10.0.0.2")},
		{"proxyheader", made(b)(key.ProxyHeader("CF-Connecting-IP", trusted, nil)), arriving("10.0.0.1:1", "CF-Connecting-IP: 203.0.113.7")},
		{"header", key.Header("User"), arriving("@", "User: alice")},
		{"join", key.Join(key.Header("User"), key.Direct(nil)), arriving("203.0.113.7:1", "User: alice")},
		{"hashed", made(b)(key.Hashed(make([]byte, 32), key.Header("User"))), arriving("@", "User: alice")},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bm.f(bm.r)
			}
		})
	}
}
