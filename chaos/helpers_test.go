package chaos

import (
	"context"
	"io"
	"log"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

// must returns an injector that is known to be valid, and armed.
func must(tb testing.TB, o *Options, faults ...Fault) *Injector {
	tb.Helper()
	i, err := New(faults, o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := i.Arm(time.Hour); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(i.Disarm)
	return i
}

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// everybody is a Trust.
func everybody(*http.Request) bool { return true }

// calls returns, for each of n calls, whether it meets a fault.
func calls(i *Injector, n int, c Call) []bool {
	met := make([]bool, n)
	for at := range met {
		var n Injection
		if n, met[at] = i.Next(c); met[at] {
			n.End()
		}
	}
	return met
}

// count returns how many are true.
func count(met []bool) int {
	n := 0
	for _, one := range met {
		if one {
			n++
		}
	}
	return n
}

// serve starts a server in memory, and returns a client for it.
func serve(t *testing.T, h http.Handler) *http.Client {
	t.Helper()
	listener := memnet.Listen()
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	transport := &http.Transport{DialContext: listener.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get sends a request.
func get(ctx context.Context, c *http.Client, fields ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:8080/", nil)
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(fields); at += 2 {
		r.Header.Add(fields[at], fields[at+1])
	}
	return c.Do(r)
}

// saying is a handler that answers with a text.
func saying(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}
