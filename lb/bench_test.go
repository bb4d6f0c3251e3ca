package lb

import (
	"net/http"
	"testing"

	"github.com/uprung/uprung"
)

// BenchmarkChoose is what a balancer adds to a request but for its body.
func BenchmarkChoose(b *testing.B) {
	for name, o := range map[string]Options{"defaults": {}, "eligible": {Eligible: func(string) bool { return true }}, "zone": {Zone: "n"}} {
		b.Run(name, func(b *testing.B) {
			balancer := mustNew(b, Static(zoned(0, "n", 20)), &o)
			choices(b, balancer, 100, uprung.Success)
			request := &http.Request{}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					e := &exchange{b: balancer, request: request}
					if err := e.choose(nil); err != nil {
						b.Error(err)
						return
					}
					e.end(balancer.now(), uprung.Success)
				}
			})
		})
	}
}

// BenchmarkTransport is what it adds to a round trip that takes no time.
func BenchmarkTransport(b *testing.B) {
	instant := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	})
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://orders/", nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, rt := range map[string]http.RoundTripper{"base": instant, "balanced": mustNew(b, Static(zoned(0, "n", 20)), nil).Transport(instant)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				resp, err := rt.RoundTrip(request)
				if err != nil {
					b.Fatal(err)
				}
				_ = resp.Body.Close()
			}
		})
	}
}
