package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

// server serves the example in a bubble, where time stands still while requests
// are served. It returns a function that asks
// for a path with an API key and returns the response and its body.
func server(t *testing.T) func(path, apiKey string) (*http.Response, string) {
	t.Helper()
	handler, err := newHandler()
	if err != nil {
		t.Fatal(err)
	}
	listener := memnet.Listen()
	s := &http.Server{Handler: handler}
	go func() { _ = s.Serve(listener) }() // ends with Close
	t.Cleanup(func() { _ = s.Close() })
	transport := &http.Transport{DialContext: listener.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return func(path, apiKey string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if apiKey != "" {
			req.Header.Set("X-API-Key", apiKey)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
}

// wantRefused checks the whole answer to a request that a policy has refused.
func wantRefused(t *testing.T, resp *http.Response, body, policy string) {
	t.Helper()
	if resp.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("status is %d, want 429", resp.StatusCode)
	}
	if got := resp.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After is %q, want 1", got)
	}
	if got := resp.Header.Values("RateLimit"); !strings.Contains(strings.Join(got, ", "), `"`+policy+`";r=0;t=1`) {
		t.Errorf("RateLimit is %q, want %q with nothing remaining for 1 s", got, policy)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q, want application/problem+json", got)
	}
	var problem struct {
		Status   int      `json:"status"`
		Violated []string `json:"violated-policies"`
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil || problem.Status != 429 ||
		len(problem.Violated) != 1 || problem.Violated[0] != policy {
		t.Errorf("body is %s, %v; want a problem that names %q", body, err, policy)
	}
}

func TestPerAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		get := server(t)
		for n := range 10 {
			if resp, body := get("/", ""); resp.StatusCode != 200 || body != "hello\n" || resp.Header.Get("RateLimit-Policy") == "" {
				t.Fatalf("request %d: %d %q, %v", n, resp.StatusCode, body, resp.Header)
			}
		}
		resp, body := get("/", "")
		wantRefused(t, resp, body, "per-address")
		time.Sleep(100 * time.Millisecond) // one more is granted each tenth of a second
		if resp, _ := get("/", ""); resp.StatusCode != 200 {
			t.Errorf("after 100ms: status is %d, want 200", resp.StatusCode)
		}
	})
}

func TestPerKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		get := server(t)
		for n := range 5 {
			if resp, body := get("/api/hello", "alice"); resp.StatusCode != 200 || body != "hello\n" {
				t.Fatalf("request %d: %d %q", n, resp.StatusCode, body)
			}
		}
		resp, body := get("/api/hello", "alice")
		wantRefused(t, resp, body, "per-key")
		for apiKey, want := range map[string]int{"bob": 200, "": 400} {
			if resp, _ := get("/api/hello", apiKey); resp.StatusCode != want {
				t.Errorf("key %q: status is %d, want %d", apiKey, resp.StatusCode, want)
			}
		}
		time.Sleep(time.Minute) // a key's burst refills; so does the address's
		if resp, _ := get("/api/hello", "alice"); resp.StatusCode != 200 {
			t.Errorf("after a minute: status is %d, want 200", resp.StatusCode)
		}
	})
}
