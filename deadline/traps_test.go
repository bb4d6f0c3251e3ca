package deadline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A caller that leaves is no deadline that was missed.
func TestTrap05CallersCancelIsNotCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Second, nil)
		rt := d.Transport(serve(t, http1(), sleeps(time.Minute)))
		for range 6 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			if _, err := rt.RoundTrip(newRequest(t, ctx)); !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error is %v, want %v", err, context.Canceled)
			}
		}
		if got := d.Stats(); got != (Stats{Done: 6}) {
			t.Errorf("counted %+v, want nothing exceeded", got)
		}
	})
}

// A panic reaches whoever serves the request as it was thrown, before and after the
// response has begun, and is not turned into an answer.
func TestTrap08PanicsGoOn(t *testing.T) {
	t.Parallel()
	d := mustNew(t, time.Minute, nil)
	own := &struct{ text string }{"of the handler's own"}
	for _, value := range []any{own, "text", errors.New("error"), http.ErrAbortHandler, 7} {
		for _, begun := range []bool{false, true} {
			h := d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Inner", "1")
				if begun {
					w.WriteHeader(http.StatusAccepted)
				}
				panic(value)
			}))
			w := httptest.NewRecorder()
			func() {
				defer func() {
					if got := recover(); got != value {
						t.Errorf("panic is %v, want %v", got, value)
					}
				}()
				h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
			}()
			if !begun && len(w.Header()) > 0 {
				t.Errorf("header is %v after a panic, want none", w.Header())
			}
		}
	}
	if got := d.Stats(); got.LatePanics != 0 || got.Done != 10 {
		t.Errorf("counted %+v, want 10 done and none late", got)
	}
}

// A panic that comes too late ends neither the process nor another request, and is
// counted.
func TestTrap08LatePanicsAreCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Second, nil)
		for _, value := range []any{"late", http.ErrAbortHandler} {
			w := send(d.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				time.Sleep(2 * time.Second)
				panic(value)
			})), httptest.NewRequest(http.MethodGet, "/", nil))
			if w.Code != 504 {
				t.Errorf("status is %d, want 504", w.Code)
			}
			time.Sleep(2 * time.Second)
		}
		waits()
		if got := d.Stats(); got != (Stats{Exceeded: 2, LatePanics: 1}) {
			t.Errorf("counted %+v, want one late panic", got)
		}
	})
}

// A hundred requests that time out leave no goroutine of a handler that heeds its
// context. Those of handlers that do not are counted as long as they run.
func TestTrap12TimeoutsLeaveNoGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Second, nil)
		run := func(h http.Handler) {
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() { send(d.Middleware(h), httptest.NewRequest(http.MethodGet, "/", nil)) })
			}
			all.Wait()
			waits()
		}
		run(sleeps(time.Minute))
		if got := d.Stats(); got != (Stats{Exceeded: 100}) {
			t.Errorf("counted %+v, want 100 exceeded and none late", got)
		}
		run(deaf(10 * time.Second))
		if got := d.Stats().Late; got != 100 {
			t.Errorf("%d handlers are late, want 100", got)
		}
		time.Sleep(10 * time.Second)
		waits()
		if got := d.Stats().Late; got != 0 {
			t.Errorf("%d handlers are late, want 0", got)
		}

		rt := d.Transport(serve(t, http1(), sleeps(time.Minute)))
		for range 100 {
			if _, err := rt.RoundTrip(newRequest(t, t.Context())); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error is %v, want one of time", err)
			}
		}
	}) // which fails if a goroutine is left in the bubble
}

// A handler is told at once when its client leaves, and not at the deadline.
func TestTrap13ClientsThatLeaveAreNotWaitedFor(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p http.Protocols) {
		d := mustNew(t, time.Minute, nil)
		told := make(chan time.Duration, 1)
		start := time.Now()
		transport := serve(t, p, d.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			told <- time.Since(start)
		})))
		ctx, leave := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer leave()
		if _, err := transport.RoundTrip(newRequest(t, ctx)); err == nil {
			t.Error("no error after leaving")
		}
		if took := <-told; took != 10*time.Millisecond {
			t.Errorf("the handler was told after %v, want 10ms", took)
		}
	})
}

// After the client has left, the handler may finish, and is waited for; but no longer
// than its time.
func TestTrap13TheDeadlineHoldsAfterTheClientHasLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Second, nil)
		for works, want := range map[time.Duration]time.Duration{500 * time.Millisecond: 500 * time.Millisecond, time.Minute: time.Second} {
			ctx, leave := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, leave)
			start := time.Now()
			send(d.Middleware(deaf(works)), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			if took := time.Since(start); took != want {
				t.Errorf("a handler that works for %v was waited for %v, want %v", works, took, want)
			}
		}
		time.Sleep(time.Minute)
		if got := d.Stats(); got != (Stats{Done: 1, Exceeded: 1}) {
			t.Errorf("counted %+v, want one done, one exceeded", got)
		}
	})
}

// A response that was cut off is seen to be: it has an error and no end.
func TestTrap15TruncationIsSeen(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p http.Protocols) {
		d := mustNew(t, time.Second, nil)
		transport := serve(t, p, d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Length") != "" {
				w.Header().Set("Content-Length", "1000")
			}
			_, _ = io.WriteString(w, "the beginning")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			if _, err := io.WriteString(w, "late"); err != nil && !errors.Is(err, http.ErrHandlerTimeout) {
				t.Errorf("a late write = %v, want %v", err, http.ErrHandlerTimeout)
			}
		})))
		for _, fields := range [][]string{nil, {"X-Length", "1"}} {
			start := time.Now()
			resp := get(t, transport, fields...)
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != 200 || !strings.HasPrefix(string(body), "the beginning") || err == nil {
				t.Errorf("status %d, %q, error %v, want the beginning and an error", resp.StatusCode, body, err)
			}
			if took := time.Since(start); took != time.Second {
				t.Errorf("it was cut off after %v, want 1s", took)
			}
		}
		waits()
		if got := d.Stats(); got != (Stats{Cut: 2}) {
			t.Errorf("counted %+v, want 2 that were cut", got)
		}
	})
}

// A client that does not read is cut off too.
func TestTrap15ClientsThatDoNotReadAreCutOff(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p http.Protocols) {
		d := mustNew(t, time.Second, nil)
		ended := make(chan time.Duration, 1)
		start := time.Now()
		transport := serve(t, p, d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 1<<16))
			}
			ended <- time.Since(start)
		})))
		resp := get(t, transport)
		if took := <-ended; took != time.Second {
			t.Errorf("the handler was stuck for %v, want 1s", took)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Error("the client has a whole response, want a truncated one")
		}
	})
}

// A deadline that was made outside of a bubble, decades later by its clock, holds
// inside it.
func TestTrap16NoEpoch(t *testing.T) {
	t.Parallel()
	d := mustNew(t, time.Second, nil)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if w := send(d.Middleware(sleeps(time.Minute)), httptest.NewRequest(http.MethodGet, "/", nil)); w.Code != 504 || time.Since(start) != time.Second {
			t.Errorf("status is %d after %v, want 504 after 1s", w.Code, time.Since(start))
		}
	})
}

// The context of an exchange outlives the call: it ends with the body, read or closed.
func TestTrapContextLivesUntilTheBodyEnds(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p http.Protocols) {
		d := mustNew(t, time.Minute, nil)
		content := strings.Repeat("0123456789", 50_000) // more than any buffer holds
		base := serve(t, p, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, content) }))
		for name, use := range map[string]func(*http.Response){
			"read": func(resp *http.Response) {
				if got, err := io.ReadAll(resp.Body); string(got) != content || err != nil {
					t.Errorf("read %d bytes, %v, want %d", len(got), err, len(content))
				}
			},
			"closed": func(resp *http.Response) { _ = resp.Body.Close() },
		} {
			var ctx context.Context
			resp := get(t, d.Transport(tripper(func(r *http.Request) (*http.Response, error) {
				ctx = r.Context()
				return base.RoundTrip(r)
			})))
			time.Sleep(time.Second)
			waits()
			if ctx.Err() != nil {
				t.Fatalf("%s: the context has ended before the body: %v", name, ctx.Err())
			}
			use(resp)
			if ctx.Err() == nil {
				t.Errorf("%s: the context lives on after the body", name)
			}
		}
	})
}

// Work for which nobody waits any more is dropped, and takes nobody's time.
func TestTrapExpiredWorkIsDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Minute, nil)
		queue := make(chan context.Context, 3)
		for _, patience := range []time.Duration{time.Second, 10 * time.Second, 3 * time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			queue <- ctx
		}
		close(queue)
		var done []bool
		for ctx := range queue {
			_, end, err := d.Begin(ctx, "")
			if err == nil {
				time.Sleep(900 * time.Millisecond) // the work
			}
			end()
			done = append(done, err == nil)
			time.Sleep(5 * time.Second) // something else
		}
		if got := fmt.Sprint(done); got != "[true true false]" {
			t.Errorf("done is %s, want [true true false]", got)
		}
	})
}

// A late handler writes, flushes, reads, copies and takes over nothing, of its own
// request or of the next on its connection.
func TestTrapLateWritesAreDropped(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p http.Protocols) {
		d := mustNew(t, time.Second, nil)
		var handlers sync.WaitGroup
		transport := serve(t, p, d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Fast") != "" {
				_, _ = io.WriteString(w, "fast")
				return
			}
			handlers.Go(func() {
				c := http.NewResponseController(w)
				for range 40 {
					w.Header().Set("X-Late", "1")
					time.Sleep(100 * time.Millisecond)
					if time.Now().Before(mustDeadline(t, r)) {
						continue
					}
					w.WriteHeader(http.StatusAccepted)
					_, write := io.WriteString(w, "late")
					_, _, hijack := c.Hijack()
					for _, err := range []error{write, c.Flush(), c.SetWriteDeadline(time.Now()), c.SetReadDeadline(time.Now())} {
						if !errors.Is(err, http.ErrHandlerTimeout) {
							t.Errorf("a late call = %v, want %v", err, http.ErrHandlerTimeout)
						}
					}
					if hijack == nil {
						t.Error("the connection was taken over, late")
					}
				}
			})
			handlers.Wait()
		})))
		resp := get(t, transport)
		if body := text(t, resp); resp.StatusCode != 504 || strings.Contains(body, "late") || resp.Header.Get("X-Late") != "" {
			t.Errorf("status is %d, header %v, body %q, want 504 and nothing late", resp.StatusCode, resp.Header, body)
		}
		for range 20 {
			resp := get(t, transport, "X-Fast", "1")
			if body := text(t, resp); resp.StatusCode != 200 || body != "fast" || resp.Header.Get("X-Late") != "" {
				t.Errorf("the next request: status %d, header %v, body %q, want 200 fast", resp.StatusCode, resp.Header, body)
			}
			time.Sleep(50 * time.Millisecond)
		}
		handlers.Wait()
	})
}

// mustDeadline returns the deadline of a request.
func mustDeadline(t *testing.T, r *http.Request) time.Time {
	t.Helper()
	at, ok := r.Context().Deadline()
	if !ok {
		t.Error("the request has no deadline")
	}
	return at
}

// What is passed on is a duration, so that clocks need not agree; each hop has less.
func TestTrapClocksNeedNotAgree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const hops = 3
		var lefts []time.Duration
		next := http.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		transport := http.RoundTripper(nil)
		for range hops {
			incoming := mustNew(t, time.Minute, &Options{Trust: everybody})
			outgoing := mustNew(t, time.Minute, nil)
			inner := transport
			transport = serve(t, http1(), incoming.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				left, _ := Remaining(r.Context())
				lefts = append(lefts, left)
				time.Sleep(100 * time.Millisecond)
				if inner == nil {
					next.ServeHTTP(w, r)
					return
				}
				req := newRequest(t, r.Context())
				resp, err := outgoing.Transport(inner).RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
			})))
		}
		first := mustNew(t, time.Second, nil)
		_ = get(t, first.Transport(transport)).Body.Close()
		if got := fmt.Sprint(lefts); got != "[990ms 880ms 770ms]" {
			t.Errorf("hops have %s, want each 10ms margin and 100ms work less than the one before", got)
		}
	})
}

// Events of a stream are there as they are sent, and exempt streams last.
func TestTrapStreamsAreNotBuffered(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p http.Protocols) {
		d := mustNew(t, time.Second, &Options{Skip: func(r *http.Request) bool { return r.Header.Get("Accept") == "text/event-stream" }})
		transport := serve(t, p, d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for range 5 {
				if _, err := io.WriteString(w, "data: event\n\n"); err != nil {
					return
				}
				if err := http.NewResponseController(w).Flush(); err != nil {
					return
				}
				select {
				case <-time.After(300 * time.Millisecond):
				case <-r.Context().Done():
					return
				}
			}
		})))
		start := time.Now()
		resp := get(t, transport, "Accept", "text/event-stream")
		for i := range 5 {
			if _, err := io.ReadFull(resp.Body, make([]byte, len("data: event\n\n"))); err != nil {
				t.Fatal(err)
			}
			if took, want := time.Since(start), time.Duration(i)*300*time.Millisecond; took != want {
				t.Errorf("event %d is there after %v, want %v", i, took, want)
			}
		}
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Errorf("the exempt stream ends with %v, want a good end", err)
		}
		if _, err := io.ReadAll(get(t, transport).Body); err == nil {
			t.Error("a stream that is not exempt was not cut off")
		}
	})
}

// Many requests at once that end around their deadline, for the race detector: each
// has exactly one answer, and the sum of outcomes is that of requests.
func TestStress(t *testing.T) {
	t.Parallel()
	d := mustNew(t, 2*time.Millisecond, &Options{Trust: everybody})
	server := httptest.NewServer(d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 4 {
			w.Header().Set("X-Count", "1")
			if i > 0 && len(r.URL.Path) > 2 {
				_, _ = io.WriteString(w, "part")
			}
			_, _ = r.Body.Read(make([]byte, 1))
			for range 20 {
				runtime.Gosched()
			}
			time.Sleep(time.Duration(len(r.URL.Path)) * 100 * time.Microsecond)
		}
		_, _ = io.WriteString(w, "end")
	})))
	defer server.Close()
	requests := 400
	if testing.Short() {
		requests = 50
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range requests / 8 {
				resp, err := server.Client().Post(server.URL+"/"+strings.Repeat("x", (i+j)%8), "text/plain", strings.NewReader("body"))
				if err != nil {
					continue // cut off before a byte was sent
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if whole := strings.HasSuffix(string(body), "end"); err == nil && resp.StatusCode == 200 && !whole {
					t.Errorf("a truncated response looks whole: %q", body)
				}
			}
		})
	}
	all.Wait()
	server.Close()
	got := d.Stats()
	if sum := got.Done + got.Exceeded + got.Cut + got.Refused; sum < uint64(requests) { // clients of net/http send again what was cut off early
		t.Errorf("counted %+v, want %d requests in all", got, requests)
	}
}
