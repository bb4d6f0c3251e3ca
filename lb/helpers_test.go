package lb

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// mustNew returns a balancer that is known to be valid.
func mustNew(tb testing.TB, r Resolver, o *Options) *Balancer {
	tb.Helper()
	b, err := New(r, o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// serve starts a server on the loopback interface, and returns its address.
func serve(tb testing.TB, handler http.Handler) (addr string) {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// named answers with a name.
func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
}

// client returns one over base, whose connections are closed in the end.
func client(tb testing.TB, transport http.RoundTripper) *http.Client {
	tb.Helper()
	c := &http.Client{Transport: transport}
	tb.Cleanup(c.CloseIdleConnections)
	return c
}

// get returns status and body.
func get(tb testing.TB, c *http.Client, url string) (int, string) {
	tb.Helper()
	resp, err := c.Get(url)
	if err != nil {
		tb.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode, string(body)
}
