package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/middlewaretest"
	"github.com/uprung/uprung/ratelimit"
)

// elsewhere is a backend that answers as it is told.
type elsewhere struct {
	policies  []string
	decisions []ratelimit.Decision
	err       error
	mode      uprung.Mode
	asked     []ratelimit.Ask
	undone    int
}

func (e *elsewhere) Policies() []string { return e.policies }

func (e *elsewhere) Decide(_ context.Context, a ratelimit.Ask) (ratelimit.Verdict, error) {
	e.asked = append(e.asked, a)
	return ratelimit.Verdict{Decisions: e.decisions, Undo: func(context.Context, time.Duration) { e.undone++ }}, e.err
}

func (e *elsewhere) Mode() uprung.Mode { return e.mode }

func (e *elsewhere) Settings() []uprung.Setting {
	return []uprung.Setting{{Name: "Limit", Value: "many"}}
}

var (
	passes = ratelimit.Decision{Limit: ratelimit.PerMinute(60), Result: ratelimit.Result{
		Allowed: true, Granted: 1, Limit: 60, Remaining: 59, ResetAfter: time.Second,
	}}
	denies = ratelimit.Decision{Limit: ratelimit.PerDay(2), Result: ratelimit.Result{
		Limit: 2, RetryAfter: 12 * time.Hour, ResetAfter: 24 * time.Hour,
	}}
)

// serve passes one request through a face to a handler that answers a status.
func serve(t *testing.T, e *elsewhere, o *ratelimit.Options, status int) *httptest.ResponseRecorder {
	t.Helper()
	face, err := ratelimit.NewFace(e, o)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	face.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })).
		ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return w
}

func TestFaceAnswersAsTheBackendDecides(t *testing.T) {
	t.Parallel()
	away := &uprung.Rejection{Kind: uprung.KindRateLimit, Reason: ratelimit.ErrUnavailable, RetryAfter: 3 * time.Second}
	for _, tt := range []struct {
		name    string
		backend elsewhere
		options ratelimit.Options
		status  int
		header  map[string]string
		body    string
	}{
		{
			name: "granted", backend: elsewhere{decisions: []ratelimit.Decision{passes, passes}}, status: 200,
			header: map[string]string{"Ratelimit-Policy": `"a";q=60;w=60, "b";q=60;w=60`, "Ratelimit": `"a";r=59;t=1, "b";r=59;t=1`},
		},
		{
			name: "denied by the second", backend: elsewhere{decisions: []ratelimit.Decision{passes, denies}}, status: 429,
			header: map[string]string{"Retry-After": "43200", "Ratelimit": `"a";r=59;t=1, "b";r=0;t=43200`},
			body:   `"violated-policies":["b"]`,
		},
		{
			name: "never", backend: elsewhere{decisions: []ratelimit.Decision{
				{Limit: ratelimit.PerDay(2), Result: ratelimit.Result{Limit: 2, Remaining: 2, RetryAfter: uprung.Never}}, passes,
			}},
			options: ratelimit.Options{Cost: func(*http.Request) int64 { return 3 }}, status: 429,
			header: map[string]string{"Retry-After": ""}, body: "can not be granted later",
		},
		{
			name: "away", backend: elsewhere{err: away}, status: 503,
			header: map[string]string{"Retry-After": "3", "Ratelimit": ""}, body: "temporary-reduced-capacity",
		},
		{name: "broken", backend: elsewhere{err: errors.New("no")}, status: 500},
		{
			name: "without a key", backend: elsewhere{}, status: 400,
			options: ratelimit.Options{Key: func(*http.Request) (string, bool) { return "", false }},
		},
		{
			name: "shadow", backend: elsewhere{mode: uprung.Shadow, decisions: []ratelimit.Decision{passes, passes}}, status: 200,
			header: map[string]string{"Ratelimit": ""},
		},
		{name: "off", backend: elsewhere{mode: uprung.Off, err: errors.New("asked")}, status: 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.backend.policies = []string{"a", "b"}
			w := serve(t, &tt.backend, &tt.options, http.StatusOK)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("%d %s, want %d with %s", w.Code, w.Body, tt.status, tt.body)
			}
			for field, want := range tt.header {
				if got := strings.Join(w.Header()[field], ", "); got != want {
					t.Errorf("%s is %q, want %q", field, got, want)
				}
			}
		})
	}
}

func TestFaceAsksForTheKeylessApart(t *testing.T) {
	t.Parallel()
	e := &elsewhere{policies: []string{"a"}, decisions: []ratelimit.Decision{passes}}
	serve(t, e, &ratelimit.Options{Key: func(*http.Request) (string, bool) { return "", true }}, 200)
	serve(t, e, &ratelimit.Options{Key: func(*http.Request) (string, bool) { return "x", false }, MissingKey: 2}, 200)
	want := []ratelimit.Ask{{N: 1}, {N: 1, Keyless: true}}
	if !slices.Equal(e.asked, want) {
		t.Errorf("asked for %+v, want %+v", e.asked, want)
	}
}

func TestFaceUndoesWhatDoesNotCount(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int{http.StatusOK: 1, http.StatusUnauthorized: 0} {
		e := &elsewhere{policies: []string{"a"}, decisions: []ratelimit.Decision{passes}}
		if serve(t, e, &ratelimit.Options{Count: ratelimit.Failures}, status); e.undone != want {
			t.Errorf("a response of %d is undone %d times, want %d", status, e.undone, want)
		}
	}
}

func TestFaceIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := ratelimit.NewFace(nil, nil); err == nil {
		t.Error("no backend, and no error")
	}
	for _, policies := range [][]string{nil, make([]string, 9)} {
		if _, err := ratelimit.NewFace(&elsewhere{policies: policies}, nil); err == nil {
			t.Errorf("%d policies, and no error", len(policies))
		}
	}
	_, err := ratelimit.NewFace(&elsewhere{policies: []string{"ä"}}, &ratelimit.Options{Headers: 9})
	for _, want := range []string{"Name", "Headers"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that names %s", err, want)
		}
	}
}

func TestFaceDescribesItself(t *testing.T) {
	t.Parallel()
	face := uprung.Must(ratelimit.NewFace(&elsewhere{policies: []string{"a", "b"}}, nil))
	layers := uprung.Layers(face.Middleware(http.NotFoundHandler()))
	if len(layers) != 1 || layers[0].Name != "a+b" || !layers[0].Has(uprung.ByClientAddress) || layers[0].Settings[0].Value != "many" {
		t.Errorf("layers are %+v", layers)
	}
}

func TestFaceKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	passing := uprung.Must(ratelimit.NewFace(stateless{passes}, &ratelimit.Options{Count: ratelimit.Failures}))
	refusing := uprung.Must(ratelimit.NewFace(stateless{denies}, nil))
	middlewaretest.Run(t, passing.Middleware, &middlewaretest.Options{Refusing: refusing.Middleware})
}

func TestFaceTransportKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	o := &ratelimit.Options{Key: func(r *http.Request) (string, bool) { return r.URL.String(), true }}
	never := denies
	never.Result.RetryAfter = uprung.Never
	passing := uprung.Must(ratelimit.NewFace(stateless{passes}, o))
	refusing := uprung.Must(ratelimit.NewFace(stateless{never}, o))
	middlewaretest.RunTransport(t, passing.Transport, &middlewaretest.TransportOptions{Refusing: refusing.Transport})
}

// sender is a function that is a round tripper.
type sender func(*http.Request) (*http.Response, error)

func (f sender) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// paced denies until an instant.
type paced struct {
	stateless
	until time.Time
}

func (p paced) Decide(ctx context.Context, a ratelimit.Ask) (ratelimit.Verdict, error) {
	v, err := p.stateless.Decide(ctx, a)
	if wait := time.Until(p.until); wait > 0 {
		v.Decisions[0].Result = ratelimit.Result{Limit: 60, RetryAfter: wait}
	}
	return v, err
}

func TestFaceTransportWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		face := uprung.Must(ratelimit.NewFace(paced{stateless{passes}, time.Now().Add(3 * time.Second)}, nil))
		answers := []string{"", "7", ""} // Retry-After
		sent := 0
		transport := face.Transport(sender(func(*http.Request) (*http.Response, error) {
			sent++
			w := httptest.NewRecorder()
			if after := answers[sent-1]; after != "" {
				w.Header().Set("Retry-After", after)
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return w.Result(), nil
		}))
		send := func(ctx context.Context) error {
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://example.com/", nil)
			resp, err := transport.RoundTrip(r)
			if err == nil {
				_ = resp.Body.Close()
			}
			return err
		}
		start := time.Now()
		hurried, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := send(hurried); !errors.Is(err, ratelimit.ErrLimited) || time.Since(start) > 0 {
			t.Errorf("what cannot be granted in time gives %v after %v, want ErrLimited at once", err, time.Since(start))
		}
		for i, want := range []time.Duration{3 * time.Second, 3 * time.Second, 10 * time.Second} {
			if err := send(t.Context()); err != nil || time.Since(start) != want {
				t.Errorf("request %d is sent after %v, %v; want %v", i, time.Since(start), err, want)
			}
		}
	})
}

// stateless is a backend for concurrent use.
type stateless struct{ decision ratelimit.Decision }

func (stateless) Policies() []string { return []string{"a"} }

func (s stateless) Decide(context.Context, ratelimit.Ask) (ratelimit.Verdict, error) {
	return ratelimit.Verdict{
		Decisions: []ratelimit.Decision{s.decision}, Undo: func(context.Context, time.Duration) {},
	}, nil
}

func (stateless) Mode() uprung.Mode          { return uprung.Enforce }
func (stateless) Settings() []uprung.Setting { return nil }

func ExampleNewFace() {
	// Limits kept elsewhere, here by nobody: package redislimit keeps them in Redis.
	face, err := ratelimit.NewFace(stateless{denies}, nil)
	if err != nil {
		panic(err)
	}
	w := httptest.NewRecorder()
	face.Middleware(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(w.Code, w.Header().Get("Retry-After"), w.Header().Get("RateLimit"))
	// Output: 429 43200 "a";r=0;t=43200
}
