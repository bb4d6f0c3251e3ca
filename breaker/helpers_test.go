package breaker

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

func mustNew(tb testing.TB, o *Options) *Breaker {
	tb.Helper()
	b, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// steady are options without jitter.
func steady() *Options { return &Options{Jitter: -1} }

// end makes n calls that end so, and returns how many were let through.
func end(b *Breaker, n int, o uprung.Outcome) (allowed int) {
	for range n {
		if p, err := b.Allow(); err == nil {
			p.Done(o)
			allowed++
		}
	}
	return allowed
}

// opened returns a breaker that is open.
func opened(t *testing.T, o *Options) *Breaker {
	t.Helper()
	b := mustNew(t, o)
	end(b, 20, uprung.Failure)
	check(t, b, Open)
	return b
}

func check(t *testing.T, b *Breaker, want State) {
	t.Helper()
	if got := b.State(); got != want {
		t.Fatalf("state is %v, want %v", got, want)
	}
}

// allow takes a permit.
func allow(t *testing.T, b *Breaker) Permit {
	t.Helper()
	p, err := b.Allow()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// roundTripper is a base that is a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering answers with a status and a body.
func answering(status int, body string) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}, nil
	}
}

func newRequest(tb testing.TB) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), "GET", "http://orders/", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// send sends a request, and reads and closes the body.
func send(rt http.RoundTripper, r *http.Request) error {
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// log collects events.
type log struct {
	mu     sync.Mutex
	events []Event
}

func (l *log) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// states returns what the events lead to.
func (l *log) states() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var states []string
	for _, e := range l.events {
		states = append(states, e.To.String()+" ("+string(e.Reason)+")")
	}
	return strings.Join(states, ", ")
}

var errBroken = errors.New("broken")

const second = int64(time.Second)
