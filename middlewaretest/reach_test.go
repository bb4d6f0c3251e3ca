package middlewaretest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func everybody503(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
}

func unauthorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fails makes a wrapper that keeps the contract and fails always.
func fails(err error) wrapper {
	return tripping(func(_ http.RoundTripper, req *http.Request) (*http.Response, error) {
		closeBody(req)
		return nil, err
	})
}

// mustNotPass runs each check of a suite alone, without the one that comes before
// all, and wants each to say that nothing has arrived.
func mustNotPass(t *testing.T, s *suite, got string) {
	t.Helper()
	if wrong := s.validate(); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	for _, c := range s.checks {
		if c.needs == aRefusal {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			failures := c.failures(&s.settings)
			if len(failures) != len(c.protocols) {
				t.Errorf("%d failures, want one for each of %d protocols", len(failures), len(c.protocols))
			}
			for _, f := range failures {
				if f.Check != c.name || !strings.Contains(f.Got, got) {
					t.Errorf("failure: %v, want got %q", f, got)
				}
			}
		})
	}
}

func TestNoCheckPassesWithoutTheHandler(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		middleware middleware
		got        string
		wait       time.Duration
	}{
		"503": {everybody503, "status 503, and the handler was not called", 0},
		"200": {refused(func(http.ResponseWriter, *http.Request) {}), "status 200, and the handler was not called", 0},
		"panic": { // over HTTP/1.1 the server waits for a body that waits to be asked for
			refused(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
			", and the handler was not called", time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := &Options{Timeout: brokenTimeout, Wait: c.wait}
			mustNotPass(t, handlerSuite(c.middleware, o), c.got)
		})
	}
}

func TestNoCheckPassesWithoutTheBase(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wrap wrapper
		got  string
	}{
		"error":      {fails(errors.New("closed")), "error: closed, and the request was not passed on"},
		"canceled":   {fails(context.Canceled), "error: context canceled, and the request was not passed on"},
		"base error": {fails(errBase), "error: " + errBase.Error() + ", and the request was not passed on"},
		"nothing":    {fails(nil), "error: neither a response nor an error, and the request was not passed on"},
		"503": {tripping(func(_ http.RoundTripper, req *http.Request) (*http.Response, error) {
			closeBody(req)
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody, Request: req}, nil
		}), "status 503, and the request was not passed on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustNotPass(t, transportSuite(c.wrap, nil), c.got)
		})
	}
}

// A refusal that passes the request on fails every check of refusals that has to
// see one.
func TestRefusalThatPassesIsSeen(t *testing.T) {
	t.Parallel()
	same := func(next http.Handler) http.Handler { return next }
	sameBase := func(base http.RoundTripper) http.RoundTripper { return base }
	for _, s := range []*suite{
		handlerSuite(same, &Options{Refusing: same}),
		transportSuite(sameBase, &TransportOptions{Refusing: sameBase}),
	} {
		for _, c := range s.checks {
			if c.needs == aRefusal {
				wantSeen(t, s, c.name)
			}
		}
	}
}

func TestFirstCheckIsTheOnlyFailure(t *testing.T) {
	t.Parallel()
	many := map[string]string{"request": "it changes the target", "panic": "it recovers"}
	credentials := func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") }
	all := map[string]string{}
	for _, c := range handlerChecks() {
		if c.needs != aRefusal {
			all[c.name] = "not of interest"
		}
	}
	refusal := refused(refuseWith(http.StatusUnauthorized, "", "text/plain", http.StatusUnauthorized))
	failing := tripping(func(http.RoundTripper, *http.Request) (*http.Response, error) { return nil, errors.New("no token") })
	waits := refused(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for name, c := range map[string]struct {
		got  []Failure
		want []string
	}{
		"credentials are missing": {
			Check(unauthorized, nil),
			[]string{"request over HTTP/1.1: got status 401, and the handler was not called, want " + wantHandler + " (http.Request)"},
		},
		"request is skipped": {
			Check(everybody503, &Options{Skip: many}),
			[]string{"request over HTTP/1.1: got status 503, and the handler was not called, want " + wantHandler + " (http.Request)"},
		},
		"refusals are checked": {
			Check(unauthorized, &Options{Refusing: refusal, Skip: map[string]string{"refusal-head": "not of interest"}})[:2],
			[]string{
				"request over HTTP/1.1: got status 401, and the handler was not called, want " + wantHandler + " (http.Request)",
				`refusal-problem over HTTP/1.1: got Content-Type "text/plain", want Content-Type application/problem+json (RFC 9457, 3, optional)`,
			},
		},
		"nothing but refusals is wanted": {
			Check(unauthorized, &Options{Refusing: refused(refuseWith(429, "1", "application/problem+json", 429)), Skip: all}),
			nil,
		},
		"credentials are there": {
			Check(unauthorized, &Options{Request: credentials, Skip: map[string]string{"panic": "to skip one"}}),
			nil,
		},
		"nil handler": {
			Check(func(http.Handler) http.Handler { return nil }, nil),
			[]string{"request over HTTP/1.1: got a nil http.Handler, want a handler from the middleware (http.Request)"},
		},
		"no answer": {
			Check(waits, &Options{Wait: 300 * time.Millisecond}),
			[]string{"request over HTTP/1.1: got error: context deadline exceeded, and the handler was not called, want " + wantHandler + " (http.Request)"},
		},
		"transport": {
			CheckTransport(failing, nil),
			[]string{"request: got error: no token, and the request was not passed on, want " + wantBase + " (http.Request)"},
		},
	} {
		var got []string
		for _, f := range c.got {
			got = append(got, f.String())
		}
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: failures:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// runRefused says in a child process that TestRunTellsWhyItSkips is to fail.
const runRefused = "MIDDLEWARETEST_RUN_REFUSED"

// A failing subtest fails its parent, so that Run runs in a process of its own.
func TestRunTellsWhyItSkips(t *testing.T) {
	t.Parallel()
	if os.Getenv(runRefused) != "" {
		Run(t, unauthorized, &Options{Refusing: refused(refuseWith(429, "1", "application/problem+json", 429))})
		return
	}
	const name = "TestRunTellsWhyItSkips"
	for pattern, want := range map[string][]string{
		"^" + name + "$": {
			"--- FAIL: " + name + "/request ",
			"--- SKIP: " + name + "/sse ",
			"request: status 401, and the handler was not called\n",
			"--- PASS: " + name + "/refusal-status ",
		},
		"^" + name + "$/^sse$": {
			"--- FAIL: " + name + " ",
			"set Options.Request",
			"--- SKIP: " + name + "/sse ",
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		command := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.run="+pattern)
		command.Env = append(os.Environ(), runRefused+"=1")
		output, err := command.CombinedOutput()
		if _, failed := errors.AsType[*exec.ExitError](err); !failed {
			t.Errorf("-run %s: error %v, want a failed test", pattern, err)
		}
		for _, text := range want {
			if !strings.Contains(string(output), text) {
				t.Errorf("-run %s: no %q in\n%s", pattern, text, output)
			}
		}
	}
}

// What a failure says is understood where its check's code is not at hand.
func TestFailureTellsWhatToDo(t *testing.T) {
	t.Parallel()
	type bare struct{ http.ResponseWriter }
	hiding := around(func(next http.Handler, w http.ResponseWriter, r *http.Request) { next.ServeHTTP(bare{w}, r) })
	seen := map[string]string{}
	for _, f := range Check(hiding, nil) {
		seen[f.Check] = f.String()
	}
	for check, want := range map[string]string{
		"flush":       "which has no Flush, want http.Flusher by type assertion; embed it",
		"reader-from": "which has no ReadFrom, want io.ReaderFrom by type assertion; embed it",
		"hijack":      "which has no Hijack, want http.Hijacker by type assertion; embed it",
		"websocket":   "add Unwrap() http.ResponseWriter",
		"sse":         "want ResponseController.Flush to work; forward Flush",
		"deadlines":   "add Unwrap() http.ResponseWriter",
		"full-duplex": "add Unwrap() http.ResponseWriter",
	} {
		if !strings.Contains(seen[check], want) {
			t.Errorf("%s: %q, want %q in it", check, seen[check], want)
		}
	}

	for _, f := range alone(t, handlerSuite(holding, &Options{Wait: time.Second}), "sse") {
		want := "sse over " + f.Protocol + ": got event 0 not at the client after 1s, " +
			"want event 0 at the client before the handler ends (WHATWG HTML, 9.2)"
		if got := f.String(); got != want {
			t.Errorf("failure: %s\nwant: %s", got, want)
		}
	}
}

// A request that goes through twice does not make up for one that does not.
func TestEveryRequestMustReachTheHandler(t *testing.T) {
	t.Parallel()
	onlyGET := around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
		next.ServeHTTP(nowhereWriter{http.Header{}}, r)
	})
	for _, f := range alone(t, handlerSuite(onlyGET, nil), "request-body") {
		if f.Got != "status 403, and the handler was not called" {
			t.Errorf("failure: %v, want one that says the handler was not called", f)
		}
	}
}

type nowhereWriter struct{ header http.Header }

func (w nowhereWriter) Header() http.Header         { return w.header }
func (w nowhereWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w nowhereWriter) WriteHeader(int)             {}
