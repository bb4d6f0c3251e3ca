package httpcache

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/uprung/uprung"
)

// A hit of 4 KB in both faces, and a handler that writes as much.
func BenchmarkHit(b *testing.B) {
	text := bytes.Repeat([]byte{'x'}, 4096)
	plain := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Etag", `"1"`)
		_, _ = w.Write(text)
	})
	c := uprung.Must(New(nil, nil))
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://shop.example/items/42", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("User-Agent", "bench/1")
	r.Header.Set("Accept", "*/*")
	for _, one := range []struct {
		name string
		h    http.Handler
	}{{"handler", c.Middleware(plain)}, {"plain", plain}} {
		b.Run(one.name, func(b *testing.B) {
			w := &counter{header: make(http.Header)}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				one.h.ServeHTTP(w, r)
			}
		})
	}
	b.Run("transport", func(b *testing.B) {
		rt := c.Transport(nil)
		b.ReportAllocs()
		for b.Loop() {
			resp, err := rt.RoundTrip(r)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
}
