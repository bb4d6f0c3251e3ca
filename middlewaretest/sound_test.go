package middlewaretest_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung/middlewaretest"
)

// The middlewares in this file keep every promise.

func identity(next http.Handler) http.Handler { return next }

func identityTransport(base http.RoundTripper) http.RoundTripper { return base }

// writer is a sound wrapper of a response writer, for others to spoil by
// embedding.
type writer struct{ http.ResponseWriter }

func (w writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w writer) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

func (w writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

func (w writer) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// wrapping makes a middleware of what wraps a response writer.
func wrapping[W http.ResponseWriter](wrap func(writer) W) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(wrap(writer{w}), r)
		})
	}
}

// answering makes a middleware that answers everything itself.
func answering(f http.HandlerFunc) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler { return f }
}

// problem writes a well-formed refusal.
func problem(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status})
}

func refusing(w http.ResponseWriter, _ *http.Request) { problem(w, http.StatusTooManyRequests) }

// deadline answers 503 in place of a handler that has not begun to answer within
// a time, and drops what the handler writes afterwards.
func deadline(limit time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			guarded := &deadlineWriter{writer: writer{w}}
			timer := time.AfterFunc(limit, guarded.expire)
			defer guarded.end(timer)
			next.ServeHTTP(guarded, r)
		})
	}
}

type deadlineWriter struct {
	writer
	mu      sync.Mutex
	begun   bool        // guarded by mu; then the response is the handler's
	expired bool        // guarded by mu; then it is ours
	late    http.Header // guarded by mu
}

func (w *deadlineWriter) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun {
		return
	}
	w.expired, w.late = true, http.Header{}
	w.ResponseWriter.Header().Set("Content-Length", "0")
	w.ResponseWriter.WriteHeader(http.StatusServiceUnavailable)
	w.writer.Flush()
}

// end waits for expire, which must not touch the response afterwards.
func (w *deadlineWriter) end(timer *time.Timer) {
	timer.Stop()
	w.begin()
}

func (w *deadlineWriter) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
	return !w.expired
}

func (w *deadlineWriter) Header() http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expired {
		return w.late
	}
	return w.ResponseWriter.Header()
}

func (w *deadlineWriter) WriteHeader(status int) {
	if status < 200 {
		w.ResponseWriter.WriteHeader(status)
	} else if w.begin() {
		w.ResponseWriter.WriteHeader(status)
	}
}

func (w *deadlineWriter) Write(b []byte) (int, error) {
	if !w.begin() {
		return 0, http.ErrHandlerTimeout
	}
	return w.ResponseWriter.Write(b)
}

func (w *deadlineWriter) ReadFrom(r io.Reader) (int64, error) {
	if !w.begin() {
		return 0, http.ErrHandlerTimeout
	}
	return w.writer.ReadFrom(r)
}

func (w *deadlineWriter) Flush() {
	if w.begin() {
		w.writer.Flush()
	}
}

func (w *deadlineWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begin()
	return w.writer.Hijack()
}

func TestSoundMiddlewarePasses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		middleware func(http.Handler) http.Handler
		options    *middlewaretest.Options
	}{
		"identity": {identity, &middlewaretest.Options{Refusing: answering(refusing)}},
		"wrapper":  {wrapping(func(w writer) writer { return w }), nil},
		"deadline": {deadline(time.Second), &middlewaretest.Options{Timeout: time.Second}},
		"key": {
			func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("X-Key") != "secret" {
						problem(w, http.StatusForbidden)
						return
					}
					next.ServeHTTP(w, r)
				})
			},
			&middlewaretest.Options{Request: func(r *http.Request) { r.Header.Set("X-Key", "secret") }},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			middlewaretest.Run(t, c.middleware, c.options)
		})
	}
}

// transport is a sound wrapper of a round tripper: it sets a field on a copy of
// the request and watches the body of the response.
func transport(base http.RoundTripper) http.RoundTripper {
	return tripper(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		req.Header.Set("X-Added", "x")
		res, err := base.RoundTrip(req)
		if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
			res.Body = &watched{ReadCloser: res.Body}
		}
		return res, err
	})
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type watched struct {
	io.ReadCloser
	read int64
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	w.read += int64(n)
	return n, err
}

func TestSoundTransportPasses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wrap    func(http.RoundTripper) http.RoundTripper
		options *middlewaretest.TransportOptions
	}{
		"wrapper": {transport, &middlewaretest.TransportOptions{
			Request: func(r *http.Request) { r.Header.Set("X-Key", "secret") },
			Refusing: func(http.RoundTripper) http.RoundTripper {
				return tripper(func(req *http.Request) (*http.Response, error) {
					if req.Body != nil {
						_ = req.Body.Close()
					}
					return nil, http.ErrNotSupported
				})
			},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			middlewaretest.RunTransport(t, c.wrap, c.options)
		})
	}
}

func TestCheckOfIdentityIsEmpty(t *testing.T) {
	t.Parallel()
	if got := middlewaretest.CheckTransport(identityTransport, nil); len(got) > 0 {
		t.Errorf("CheckTransport of the identity = %v, want none", got)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	t.Parallel()
	handler := func(o *middlewaretest.Options) []middlewaretest.Failure { return middlewaretest.Check(identity, o) }
	for want, got := range map[string][]middlewaretest.Failure{
		"a nil middleware":               middlewaretest.Check(nil, nil),
		"a nil wrap":                     middlewaretest.CheckTransport(nil, nil),
		"Wait of -1s":                    handler(&middlewaretest.Options{Wait: -time.Second}),
		"Timeout of -1s":                 handler(&middlewaretest.Options{Timeout: -time.Second}),
		`Skip["speed"]`:                  handler(&middlewaretest.Options{Skip: map[string]string{"speed": "x"}}),
		`Skip["panic"] without a reason`: handler(&middlewaretest.Options{Skip: map[string]string{"panic": ""}}),
	} {
		if len(got) != 1 || got[0].Check != "options" || got[0].Got != want {
			t.Errorf("failures = %v, want one of the options: %s", got, want)
		}
	}
	all := handler(&middlewaretest.Options{Wait: -1, Timeout: -1, Skip: map[string]string{"a": "", "b": "x"}})
	if len(all) != 4 {
		t.Errorf("failures = %v, want 4", all)
	}
}

func TestSkippedChecksDoNotRun(t *testing.T) {
	t.Parallel()
	recovering := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				if v := recover(); v != nil {
					http.Error(w, "sorry", http.StatusInternalServerError)
				}
			}()
			next.ServeHTTP(w, r)
		})
	}
	const reason = "recovering is its purpose"
	got := middlewaretest.Check(recovering, &middlewaretest.Options{Skip: map[string]string{"panic": reason, "abort": reason}})
	if len(got) > 0 {
		t.Errorf("failures = %v, want none", got)
	}
}

func TestFailureText(t *testing.T) {
	t.Parallel()
	f := middlewaretest.Failure{Check: "sse", Protocol: "h2c", Got: "nothing", Want: "an event", Source: "HTML"}
	if got, want := f.String(), "sse over h2c: got nothing, want an event (HTML)"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	f = middlewaretest.Failure{Check: "error", Got: "none", Want: "one"}
	if got, want := f.String(), "error: got none, want one"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if strings.Contains(f.String(), "()") {
		t.Errorf("String() = %q, want no empty source", f)
	}
}
