package retry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

func mustNew(tb testing.TB, o *Options) *Retrier {
	tb.Helper()
	r, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// roundTripper is a base that is a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// script answers one request after the other, the last step again and again, and
// notes what it was sent.
type script struct {
	steps []step

	mu     sync.Mutex
	sent   []sent
	bodies []*body
}

// step is one answer: an error, or a response after a time.
type step struct {
	status int
	header http.Header
	body   string
	err    error
	after  time.Duration
}

type sent struct {
	method, body, attempt string
	at                    time.Time
}

func answers(statuses ...int) *script {
	s := &script{}
	for _, status := range statuses {
		s.steps = append(s.steps, step{status: status})
	}
	return s
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	text := ""
	if r.Body != nil {
		b, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		text = string(b)
	}
	s.mu.Lock()
	step := s.steps[min(len(s.sent), len(s.steps)-1)]
	s.sent = append(s.sent, sent{r.Method, text, r.Header.Get(AttemptHeader), time.Now()})
	s.mu.Unlock()
	if step.after > 0 {
		select {
		case <-time.After(step.after):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if step.err != nil {
		return nil, step.err
	}
	header := step.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	b := &body{Reader: strings.NewReader(step.body), ctx: r.Context()}
	s.mu.Lock()
	s.bodies = append(s.bodies, b)
	s.mu.Unlock()
	return &http.Response{StatusCode: step.status, Header: header, Body: b, Request: r, ContentLength: int64(len(step.body))}, nil
}

// attempts returns how many requests there were.
func (s *script) attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// open returns how many bodies have not been closed.
func (s *script) open() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bodies {
		if !b.isClosed() {
			n++
		}
	}
	return n
}

// body is one that fails once its context has ended, as those of net/http do.
type body struct {
	io.Reader
	ctx    context.Context //nolint:containedctx // the body fails with it
	mu     sync.Mutex
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

func (b *body) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// errRefused is what a dial of a port without a listener returns.
var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}

var errReset = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

func newRequest(tb testing.TB, method, text string) *http.Request {
	tb.Helper()
	var reader io.Reader
	if text != "" {
		reader = strings.NewReader(text)
	}
	r, err := http.NewRequestWithContext(tb.Context(), method, "http://orders/", reader)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// send sends a request and returns the status, or 0 and the error, and reads and
// closes the body.
func send(rt http.RoundTripper, r *http.Request) (int, error) {
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	_, readErr := io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode, readErr
}

// amplification sends so many requests, 20 a second, in a bubble, and returns how many
// attempts have come for each.
func amplification(t *testing.T, rt http.RoundTripper, s *script, requests int) float64 {
	t.Helper()
	before := s.attempts()
	for range requests {
		go func() { _, _ = send(rt, newRequest(t, "GET", "")) }()
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(10 * time.Second)
	return float64(s.attempts()-before) / float64(requests)
}

// balanced is a base that chooses among endpoints in turn, rather one that was not
// tried, as package lb does.
type balanced struct {
	endpoints []string
	mu        sync.Mutex
	next      int
	send      func(endpoint string, r *http.Request) (*http.Response, error)
}

func (b *balanced) Layer() uprung.Layer { return uprung.Layer{Kind: uprung.KindBalance} }

func (b *balanced) RoundTrip(r *http.Request) (*http.Response, error) {
	attempt := uprung.AttemptOf(r.Context())
	b.mu.Lock()
	endpoint := ""
	for i := range b.endpoints {
		candidate := b.endpoints[(b.next+i)%len(b.endpoints)]
		if endpoint == "" || attempt != nil && slices.Contains(attempt.Tried(), endpoint) {
			endpoint = candidate
		}
	}
	b.next++
	b.mu.Unlock()
	if attempt != nil {
		attempt.Try(endpoint)
	}
	return b.send(endpoint, r)
}

var errBroken = errors.New("broken")
