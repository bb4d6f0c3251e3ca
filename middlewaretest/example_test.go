package middlewaretest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"time"

	"github.com/uprung/uprung/middlewaretest"
)

// bufferedWriter keeps a body back, as a middleware does that wants to know its
// length.
type bufferedWriter struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (w *bufferedWriter) Write(b []byte) (int, error) { return w.body.Write(b) }

func buffer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buffered := &bufferedWriter{ResponseWriter: w}
		next.ServeHTTP(buffered, r)
		_, _ = buffered.body.WriteTo(w)
	})
}

// A middleware that looks harmless, and what it breaks.
func Example() {
	failures := middlewaretest.Check(buffer, &middlewaretest.Options{Wait: 2 * time.Second})
	for _, f := range failures {
		if f.Protocol == "HTTP/1.1" {
			fmt.Println(f.Check)
		}
	}

	// Output:
	// status
	// flush
	// sse
	// download
	// full-duplex
	// deadlines
	// reader-from
	// hijack
	// websocket
}
