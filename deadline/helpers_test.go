package deadline

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

// mustNew returns a deadline that is known to be valid.
func mustNew(tb testing.TB, limit time.Duration, o *Options) *Deadline {
	tb.Helper()
	d, err := New(limit, o)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// bothProtocols runs f in a bubble for HTTP/1.1 and one for HTTP/2.
func bothProtocols(t *testing.T, f func(t *testing.T, p http.Protocols)) {
	t.Helper()
	t.Parallel()
	for _, name := range []string{"HTTP/1", "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			var p http.Protocols
			p.SetHTTP1(name == "HTTP/1")
			p.SetUnencryptedHTTP2(name == "HTTP/2")
			bubble(t, func(t *testing.T) { f(t, p) })
		})
	}
}

// origin is where the server of a test is.
const origin = "http://127.0.0.1:8080/"

// serve starts a server in memory, and returns a transport that reaches it under
// origin.
func serve(t *testing.T, p http.Protocols, handler http.Handler) *http.Transport {
	t.Helper()
	listener := memnet.Listen()
	server := &http.Server{Handler: handler, Protocols: &p, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	transport := &http.Transport{DialContext: listener.DialContext, Protocols: &p}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// http1 is HTTP/1 alone.
func http1() (p http.Protocols) {
	p.SetHTTP1(true)
	return p
}

// get sends a request, with header fields in pairs, and returns the response.
func get(t *testing.T, rt http.RoundTripper, fields ...string) *http.Response {
	t.Helper()
	req := newRequest(t, t.Context())
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func newRequest(t *testing.T, ctx context.Context) *http.Request { //nolint:revive // t comes first in tests
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// text reads a body.
func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// sleeps is a handler that works for a time, or until its context ends, and then
// answers.
func sleeps(d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	})
}

// deaf is a handler that works for a time and heeds no context.
func deaf(d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(d)
		_, _ = io.WriteString(w, "done")
	})
}

// everybody trusts all requests.
func everybody(*http.Request) bool { return true }

// send puts a request to a handler.
func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// waits returns once nothing in the bubble moves.
func waits() { synctest.Wait() }
