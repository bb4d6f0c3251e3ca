package ratelimit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

func TestConcurrencyMiddlewareRefusesBeforeAnyWork(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(1), nil)
	hold(t, c, 1, Claim{})
	h := c.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler is called") }))
	for _, tt := range []struct {
		name, retryAfter string
		ctx              func(context.Context) (context.Context, context.CancelFunc)
		status           int
	}{
		{"busy", "1", func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }, http.StatusServiceUnavailable},
		{"expired", "", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, time.Now().Add(-time.Second))
		}, http.StatusGatewayTimeout},
	} {
		ctx, cancel := tt.ctx(t.Context())
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		cancel()
		if w.Code != tt.status || w.Header().Get("Retry-After") != tt.retryAfter || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d with %v, want %d with Retry-After %q and a problem", tt.name, w.Code, w.Header(), tt.status, tt.retryAfter)
		}
	}
}

// The time of a request ends with its headers, its place with its handler; one that
// lasts leaves its place to others.
func TestConcurrencyMiddlewareKnowsTwoInstants(t *testing.T) {
	for name, tt := range map[string]struct {
		contentType       string
		inFlight, streams int
	}{
		"body":   {"text/plain", 1, 0},
		"events": {"text/event-stream; charset=utf-8", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := concurrency(t, Adaptive(), nil)
				h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(10 * time.Millisecond)
					w.Header().Set("Content-Type", tt.contentType)
					w.WriteHeader(http.StatusOK)
					if got := c.Stats(); got.InFlight != tt.inFlight || got.Streams != tt.streams {
						t.Errorf("stats are %+v, want %d in flight and %d streams", got, tt.inFlight, tt.streams)
					}
					time.Sleep(time.Hour)
				}))
				for range windowSamples {
					h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
				}
				got := c.Stats()
				if got.InFlight != 0 || got.Streams != 0 {
					t.Errorf("stats are %+v, want nobody left", got)
				}
				if got.Base.Round(time.Millisecond) != 10*time.Millisecond {
					t.Errorf("base is %v, want the 10ms until the headers", got.Base)
				}
			})
		})
	}
}

func TestConcurrencyMiddlewareCountsPanics(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(1), nil)
	h := c.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	for range 3 {
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler { //nolint:errorlint // it passes untouched
					t.Errorf("recovered %v, want what was panicked", got)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		}()
	}
	if got := c.Stats(); got.Admitted != 3 || got.InFlight != 0 {
		t.Errorf("stats are %+v, want three that have left", got)
	}
}

func TestConcurrencyMiddlewareOptions(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(4), &ConcurrencyOptions{
		Tenant:   key.Header("Tenant"),
		Priority: func(r *http.Request) Priority { return map[string]Priority{"/batch": Background}[r.URL.Path] },
		Skip:     func(r *http.Request) bool { return r.URL.Path == "/healthz" },
		Refused: func(w http.ResponseWriter, _ *http.Request, err error) {
			if !errors.Is(err, ErrBusy) {
				t.Errorf("error is %v, want ErrBusy", err)
			}
			w.WriteHeader(http.StatusTeapot)
		},
	})
	hold(t, c, 2, Claim{Tenant: "hog"})
	h := c.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, tt := range []struct {
		path, tenant string
		status       int
	}{
		{"/batch", "ant", http.StatusTeapot},
		{"/page", "ant", http.StatusOK},
		{"/healthz", "", http.StatusOK},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, tt.path, nil)
		r.Header.Set("Tenant", tt.tenant)
		h.ServeHTTP(w, r)
		if w.Code != tt.status {
			t.Errorf("%s of %q: %d, want %d", tt.path, tt.tenant, w.Code, tt.status)
		}
		if tt.status == http.StatusTeapot && w.Header().Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q, want 1", w.Header().Get("Retry-After"))
		}
	}
	if got := c.Stats().Admitted; got != 3 {
		t.Errorf("%d admitted, want 3: what is exempt is not counted", got)
	}
}

type bodyOf struct {
	io.Reader
	closed *bool
}

func (b bodyOf) Close() error { *b.closed = true; return nil }

func TestConcurrencyTransport(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(1), nil)
	var answer func() (*http.Response, error)
	rt := c.Transport(roundTrip(func(*http.Request) (*http.Response, error) { return answer() }))
	send := func() (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://origin/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		return rt.RoundTrip(r)
	}
	answer = func() (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("hello"))}, nil
	}
	resp, err := send()
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://origin/", bodyOf{strings.NewReader(""), &closed})
	_, err = rt.RoundTrip(r)
	if _, rejected := errors.AsType[*uprung.Rejection](err); !rejected || !errors.Is(err, ErrBusy) || !closed {
		t.Errorf("error is %v, body closed: %t; want a rejection while a body is open", err, closed)
	}
	_ = resp.Body.Close()
	if got := c.Stats().InFlight; got != 0 {
		t.Errorf("%d in flight after the body was closed, want none", got)
	}
	broken := errors.New("broken")
	answer = func() (*http.Response, error) { return nil, broken }
	if _, err := send(); !errors.Is(err, broken) || c.Stats().InFlight != 0 {
		t.Errorf("error is %v with %d in flight, want it passed on and none", err, c.Stats().InFlight)
	}
	answer = func() (*http.Response, error) { panic("broken") }
	func() {
		defer func() { _ = recover() }()
		_, _ = send()
	}()
	if got := c.Stats(); got.InFlight != 0 || got.Admitted != 3 || got.Refused != 1 {
		t.Errorf("stats are %+v, want nobody left after a panic", got)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConcurrencyExplainsItself(t *testing.T) {
	t.Parallel()
	c := concurrency(t, Adaptive(), &ConcurrencyOptions{Name: "api", Queue: 8})
	text := uprung.Explain(c.Middleware(http.NotFoundHandler()))
	for _, want := range []string{`concurrency "api"`, "4 to 1000", "QueueWait", "100ms", "normal"} {
		if !strings.Contains(text, want) {
			t.Errorf("explained as\n%s\nwant it to have %q", text, want)
		}
	}
}

func TestConcurrencyMetricsTellStats(t *testing.T) {
	t.Parallel()
	c := concurrency(t, AtMost(2), &ConcurrencyOptions{Name: "p"})
	hold(t, c, 2, Claim{})
	_, _ = c.Acquire(t.Context(), Claim{})
	want := map[string]float64{
		"uprung_ratelimit_concurrency_in_flight": 2, "uprung_ratelimit_concurrency_limit": 2,
		"uprung_ratelimit_concurrency_saturation_ratio": 1, "uprung_ratelimit_concurrency_decisions_total admit": 2,
		"uprung_ratelimit_concurrency_decisions_total refuse": 1,
	}
	n := 0
	for m := range c.Metrics {
		n++
		id := m.Name
		if len(m.Labels) == 2 {
			id += " " + m.Labels[1].Value
		}
		if m.Labels[0] != (uprung.Label{Name: "policy", Value: "p"}) {
			t.Errorf("%s has labels %v, want the policy first", id, m.Labels)
		}
		if m.Value != want[id] {
			t.Errorf("%s is %v, want %v", id, m.Value, want[id])
		}
	}
	if n != 13 {
		t.Errorf("%d series, want 13", n)
	}
	for range c.Metrics {
		break // stops when it is told to
	}
}

// What another guard within refuses took no work: neither its time nor the refusal
// changes the limit.
func TestRefusalsOfAnotherGuardSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := concurrency(t, Adaptive(), nil)
		h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(10 * time.Millisecond)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		for range 100 {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		}
		if got := c.Stats(); got.Limit != 20 || got.Base != 0 {
			t.Errorf("stats are %+v, want nothing learned", got)
		}
	})
}
