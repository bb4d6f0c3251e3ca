package middlewaretest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The middlewares in this file break one promise each, in a way that has been
// seen in the wild.

type middleware = func(http.Handler) http.Handler

// around makes a middleware of what runs a handler.
func around(f func(next http.Handler, w http.ResponseWriter, r *http.Request)) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(next, w, r) })
	}
}

// whole is a sound writer to embed.
type whole struct{ http.ResponseWriter }

func (w whole) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w whole) Flush()                      { _ = http.NewResponseController(w.ResponseWriter).Flush() }
func (w whole) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
func (w whole) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// spoiling makes a middleware of what wraps a writer.
func spoiling[W http.ResponseWriter](wrap func(whole) W) middleware {
	return around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(wrap(whole{w}), r)
	})
}

// statusWriter changes or drops statuses.
type statusWriter struct {
	whole
	change func(int) int // 0 drops the call
}

func (w statusWriter) WriteHeader(status int) {
	if status = w.change(status); status != 0 {
		w.ResponseWriter.WriteHeader(status)
	}
}

type acceptedByDefault struct{ whole }

func (w acceptedByDefault) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusAccepted)
	return w.ResponseWriter.Write(b)
}

// sloppyWriter claims fewer bytes than it has written.
type sloppyWriter struct{ whole }

func (w sloppyWriter) Write(b []byte) (int, error) {
	n, err := w.ResponseWriter.Write(b)
	return n / 2, err
}

// singleValues joins the values of a header as a map from string to string does.
type singleValues struct{ whole }

func (w singleValues) WriteHeader(status int) {
	for name, values := range w.Header() {
		w.Header()[name] = values[:1]
	}
	w.ResponseWriter.WriteHeader(status)
}

// copiedHeader hands out a header of its own and copies it at the first write.
type copiedHeader struct {
	whole
	own  http.Header
	once *sync.Once
}

func (w copiedHeader) Header() http.Header { return w.own }
func (w copiedHeader) Write(b []byte) (int, error) {
	w.once.Do(func() { maps.Copy(w.ResponseWriter.Header(), w.own.Clone()) })
	return w.ResponseWriter.Write(b)
}

// heldBody keeps the body until the handler has ended.
type heldBody struct {
	whole
	body *bytes.Buffer
}

func (w heldBody) Write(b []byte) (int, error)         { return w.body.Write(b) }
func (w heldBody) ReadFrom(r io.Reader) (int64, error) { return w.body.ReadFrom(r) }

func holding(next http.Handler) http.Handler {
	return around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		held := heldBody{whole{w}, new(bytes.Buffer)}
		next.ServeHTTP(held, r)
		_, _ = held.body.WriteTo(w)
	})(next)
}

type deafFlusher struct{ whole }

func (deafFlusher) Flush() {}

type (
	noFlusher struct {
		http.ResponseWriter
		http.Hijacker
		io.ReaderFrom
	}
	noHijacker struct {
		http.ResponseWriter
		http.Flusher
		io.ReaderFrom
	}
	noReaderFrom struct {
		http.ResponseWriter
		http.Flusher
		http.Hijacker
	}
)

func (w noHijacker) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type deafDeadlines struct{ whole }

func (deafDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (deafDeadlines) SetWriteDeadline(time.Time) error { return nil }

type deafDuplex struct{ whole }

func (deafDuplex) EnableFullDuplex() error { return errors.New("no") }

// brokenWant is one broken middleware and the check that must see it.
type brokenWant struct {
	check, how string
	middleware middleware
}

func brokenMiddlewares(stop <-chan struct{}) []brokenWant {
	var serial sync.Mutex
	return []brokenWant{
		{"request", "drops the query", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			r.URL.RawQuery = ""
			r.RequestURI = r.URL.RequestURI()
			next.ServeHTTP(w, r)
		})},
		{"request", "begins a context anew", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.Background()))
		})},
		{"request-body", "cuts the body", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			r.Body = http.MaxBytesReader(w, r.Body, 1000)
			next.ServeHTTP(w, r)
		})},
		{"request-body", "hides Close", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			r.Body = io.NopCloser(r.Body)
			next.ServeHTTP(w, r)
		})},
		{"one-status", "writes a header at the end", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			w.WriteHeader(http.StatusGatewayTimeout)
		})},
		{"implicit-200", "has a default of its own", spoiling(func(w whole) acceptedByDefault { return acceptedByDefault{w} })},
		{"status", "makes all errors one", spoiling(func(w whole) statusWriter {
			return statusWriter{w, func(status int) int {
				if status > 500 {
					return 500
				}
				return status
			}}
		})},
		{"header", "keeps one value", spoiling(func(w whole) singleValues { return singleValues{w} })},
		{"body", "counts wrongly", spoiling(func(w whole) sloppyWriter { return sloppyWriter{w} })},
		{"head", "makes HEAD a GET", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			r.Method = http.MethodGet
			next.ServeHTTP(w, r)
		})},
		{"trailers", "copies the header early", spoiling(func(w whole) copiedHeader {
			return copiedHeader{w, http.Header{}, new(sync.Once)}
		})},
		{"informational", "drops 1xx", spoiling(func(w whole) statusWriter {
			return statusWriter{w, func(status int) int {
				if status < 200 {
					return 0
				}
				return status
			}}
		})},
		{"informational", "takes 1xx for the final status", spoiling(func(w whole) statusWriter {
			var once sync.Once
			return statusWriter{w, func(status int) int {
				first := 0
				once.Do(func() { first = status })
				return first
			}}
		})},
		{"expect-continue", "reads the body first", reading},
		{"flush", "hides Flusher", spoiling(func(w whole) noFlusher { return noFlusher{w.ResponseWriter, w, w} })},
		{"flush", "ignores Flush", spoiling(func(w whole) deafFlusher { return deafFlusher{w} })},
		{"sse", "holds the body", holding},
		{"download", "holds the body", holding},
		{"upload", "reads the body first", reading},
		{"full-duplex", "refuses it", spoiling(func(w whole) deafDuplex { return deafDuplex{w} })},
		{"deadlines", "has no Unwrap", spoiling(func(w whole) noReaderFrom { return noReaderFrom{w.ResponseWriter, w, w} })},
		{"deadlines", "ignores them", spoiling(func(w whole) deafDeadlines { return deafDeadlines{w} })},
		{"reader-from", "hides ReaderFrom", spoiling(func(w whole) noReaderFrom { return noReaderFrom{w.ResponseWriter, w, w} })},
		{"hijack", "hides Hijacker", spoiling(func(w whole) noHijacker { return noHijacker{w.ResponseWriter, w, w} })},
		{"websocket", "drops hop-by-hop fields", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			r.Header.Del("Connection")
			next.ServeHTTP(w, r)
		})},
		{"websocket", "writes to a hijacked connection", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			w.WriteHeader(http.StatusOK)
		})},
		{"panic", "swallows", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			defer func() { _ = recover() }()
			next.ServeHTTP(w, r)
		})},
		{"panic", "makes it text", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			defer func() {
				if v := recover(); v != nil {
					panic(fmt.Sprint("in handler: ", v))
				}
			}()
			next.ServeHTTP(w, r)
		})},
		{"abort", "wraps it", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			defer func() {
				if err, ok := recover().(error); ok {
					panic(fmt.Errorf("in handler: %w", err))
				}
			}()
			next.ServeHTTP(w, r)
		})},
		{"cancel", "detaches the context", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
		})},
		{"concurrent", "takes turns", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			serial.Lock()
			defer serial.Unlock()
			next.ServeHTTP(w, r)
		})},
		{"goroutines", "leaves one behind", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			go func() { <-stop }()
			next.ServeHTTP(w, r)
		})},
		{"timeout", "lets the handler write and adds an error", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			begun := time.Now()
			next.ServeHTTP(w, r)
			if time.Since(begun) > brokenTimeout {
				http.Error(w, "timeout exceeded", http.StatusServiceUnavailable)
			}
		})},
		{"refusal-status", "refuses with 200", around(func(_ http.Handler, w http.ResponseWriter, _ *http.Request) {
			write(w, "please come back later")
		})},
		{"refusal-status", "passes it on as well", around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
			refuseWith(http.StatusTooManyRequests, "1", "application/problem+json", http.StatusTooManyRequests)(w, r)
			next.ServeHTTP(w, r)
		})},
		{"refusal-retry-after", "has none", refused(refuseWith(429, "", "application/problem+json", 429))},
		{"refusal-retry-after", "rounds down", refused(refuseWith(503, "0", "application/problem+json", 503))},
		{"refusal-retry-after", "writes a duration", refused(refuseWith(503, "1.5s", "application/problem+json", 503))},
		{"refusal-problem", "is text", refused(refuseWith(429, "1", "text/plain", 429))},
		{"refusal-problem", "names another status", refused(refuseWith(429, "1", "application/problem+json", 503))},
		{"refusal-head", "answers HEAD otherwise", refused(func(w http.ResponseWriter, r *http.Request) {
			status := http.StatusTooManyRequests
			if r.Method == http.MethodHead {
				status = http.StatusMethodNotAllowed
			}
			refuseWith(status, "1", "application/problem+json", status)(w, r)
		})},
		{"refusal-continue", "reads the body first", refused(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			refuseWith(429, "1", "application/problem+json", 429)(w, r)
		})},
	}
}

const (
	brokenTimeout = 50 * time.Millisecond

	// brokenWait is short, because many checks wait for it here. A check that
	// ends too early on a busy machine has failed, as it should.
	brokenWait = 150 * time.Millisecond
)

func reading(next http.Handler) http.Handler {
	return around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})(next)
}

func refused(f http.HandlerFunc) middleware {
	return func(http.Handler) http.Handler { return f }
}

func refuseWith(status int, retryAfter, contentType string, told int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if retryAfter != "" {
			w.Header().Set("Retry-After", retryAfter)
		}
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		write(w, `{"status":`+strconv.Itoa(told)+`}`)
	}
}

func TestBrokenMiddlewareIsSeen(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	broken := brokenMiddlewares(stop)
	for _, c := range handlerChecks() {
		if !slices.ContainsFunc(broken, func(b brokenWant) bool { return b.check == c.name }) {
			t.Errorf("no broken middleware for the check %q", c.name)
		}
	}
	for _, b := range broken {
		t.Run(b.check+"/"+strings.ReplaceAll(b.how, " ", "-"), func(t *testing.T) {
			t.Parallel()
			o := &Options{Wait: brokenWait, Timeout: brokenTimeout, Refusing: b.middleware}
			wantSeen(t, handlerSuite(b.middleware, o), b.check)
		})
	}
}

// alone runs one check of a suite, without the one that comes before all, and
// wants it to fail.
func alone(t *testing.T, s *suite, name string) []Failure {
	t.Helper()
	if wrong := s.validate(); len(wrong) > 0 {
		t.Fatal(wrong)
	}
	i := slices.IndexFunc(s.checks, func(c check) bool { return c.name == name })
	failures := s.checks[i].failures(&s.settings)
	if len(failures) == 0 {
		t.Errorf("failures = none, want one of %q", name)
	}
	return failures
}

// wantSeen is alone that wants a complete account.
func wantSeen(t *testing.T, s *suite, name string) {
	t.Helper()
	for _, f := range alone(t, s, name) {
		if f.Check != name || f.Got == "" || f.Want == "" || f.Source == "" {
			t.Errorf("failure = %+v, want one of %q with all fields", f, name)
		}
		t.Log(f)
	}
}

// A middleware that breaks nearly everything is reported under many names, and a
// hanging one ends.
func TestCheckReportsManyFailures(t *testing.T) {
	t.Parallel()
	recorded := around(func(next http.Handler, w http.ResponseWriter, r *http.Request) {
		recorder := httptest.NewRecorder()
		next.ServeHTTP(recorder, r)
		maps.Copy(w.Header(), recorder.Header())
		w.WriteHeader(recorder.Code)
		_, _ = recorder.Body.WriteTo(w)
	})
	var names []string
	for _, f := range Check(recorded, &Options{Wait: brokenWait}) {
		names = append(names, f.Check)
	}
	for _, want := range []string{"informational", "flush", "sse", "download", "reader-from", "hijack", "websocket", "full-duplex", "deadlines"} {
		if !slices.Contains(names, want) {
			t.Errorf("failures = %v, want %q among them", slices.Compact(names), want)
		}
	}
}
