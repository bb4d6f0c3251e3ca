package breaker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/memnet"
)

// What was seen to go wrong in other breakers. The names say which.

// gobreaker deadlocks when OnStateChange asks it anything.
func TestTrap01OnChangeMayCallTheBreaker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var seen log
		o := steady()
		var b *Breaker
		o.OnChange = func(e Event) {
			seen.add(e)
			_, _ = b.State(), b.Stats()
			if e.To == HalfOpen {
				end(b, 3, uprung.Success) // changes the state again, which is told afterwards
			}
		}
		b = mustNew(t, o)
		end(b, 20, uprung.Failure)
		time.Sleep(time.Second)
		b.State() // what is told may change it again
		check(t, b, Closed)
		if got, want := seen.states(), "open (failures), half-open (open time over), closed (probes succeeded)"; got != want {
			t.Errorf("events lead to %s, want %s", got, want)
		}
	})
}

// In gobreaker, Goexit of a probe keeps it half-open for ever.
func TestTrap02GoexitOfAProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := opened(t, steady())
		time.Sleep(time.Second)
		for range 3 {
			go func() {
				_, _ = Do(t.Context(), b, func(context.Context) (int, error) { runtime.Goexit(); return 0, nil })
			}()
		}
		synctest.Wait()
		check(t, b, Open) // it was a failure
		time.Sleep(time.Second)
		if got := end(b, 3, uprung.Success); got != 3 {
			t.Errorf("%d calls are let through after that, want 3", got)
		}
		check(t, b, Closed)
	})
}

// gobreaker and failsafe-go wait for ever for a probe that is never done.
func TestTrap03ForgottenProbes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := opened(t, steady())
		time.Sleep(time.Second)
		for range 3 {
			allow(t, b)
		}
		if _, err := b.Allow(); !errors.Is(err, ErrProbing) || !errors.Is(err, ErrOpen) {
			t.Errorf("error is %v, want ErrProbing, which matches ErrOpen", err)
		}
		if b.Eligible() {
			t.Error("eligible while all probes are out")
		}
		time.Sleep(10 * time.Second)
		if !b.Eligible() {
			t.Error("not eligible after the lease")
		}
		check(t, b, Open) // again, as they have failed
		if s := b.Stats(); s.LeasesOver != 1 || s.Opened != 2 {
			t.Errorf("%+v, want one lease that was over and two openings", s)
		}
		time.Sleep(time.Second)
		if got := end(b, 3, uprung.Success); got != 3 {
			t.Errorf("%d calls are let through after that, want 3", got)
		}
		check(t, b, Closed)
	})
}

// gobreaker forgets calls that take longer than its interval.
func TestTrap04CallsLongerThanTheWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, &Options{Window: time.Second})
		for range 20 {
			p := allow(t, b)
			go func() {
				time.Sleep(5 * time.Second)
				p.Done(uprung.Failure)
			}()
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		check(t, b, Open)
	})
}

// gobreaker and failsafe-go open when callers leave.
func TestTrap05CancelledCallers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, &Options{Consecutive: 1})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 100 {
			_, _ = Do(ctx, b, func(ctx context.Context) (int, error) { return 0, ctx.Err() })
		}
		// And those in a hurry.
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			_, _ = Do(ctx, b, func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
			cancel()
		}
		check(t, b, Closed)
		if s := b.Stats(); s.Ignored != 200 || s.Failures != 0 {
			t.Errorf("%+v, want 200 that are ignored", s)
		}
	})
}

// One hung probe of gobreaker's rejects a healthy backend for as long as it hangs. With
// a lease, it is for that long at most.
func TestTrap06OneHungProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := steady()
		o.ProbeLease = 500 * time.Millisecond
		b := opened(t, o)
		time.Sleep(time.Second)
		hung := allow(t, b)
		end(b, 2, uprung.Success)
		time.Sleep(500 * time.Millisecond)
		check(t, b, Open)
		time.Sleep(time.Second)
		end(b, 3, uprung.Success)
		check(t, b, Closed)
		hung.Done(uprung.Failure) // too late
		hung.Done(uprung.Failure)
		check(t, b, Closed)
		if s := b.Stats(); s.Late != 1 || s.WindowFailures != 0 {
			t.Errorf("%+v, want one late result, and no failure", s)
		}
	})
}

// gobreaker's distributed breaker holds a lock during calls. Ours are not distributed;
// calls at one time do not wait for each other, whatever the state.
func TestTrap07CallsDoNotWaitForEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := steady()
		o.Probes = 16
		b := opened(t, o)
		for range 2 {
			time.Sleep(time.Second)
			start := time.Now()
			var calls sync.WaitGroup
			for range 16 {
				calls.Go(func() {
					if _, err := Do(t.Context(), b, func(context.Context) (int, error) {
						time.Sleep(50 * time.Millisecond)
						return 0, nil
					}); err != nil {
						t.Error(err)
					}
				})
			}
			calls.Wait()
			if took := time.Since(start); took != 50*time.Millisecond {
				t.Errorf("16 calls of 50 ms at one time take %v", took)
			}
			check(t, b, Closed)
		}
	})
}

// go-zero counts panics of handlers as successes.
func TestTrap08PanicsOfHandlers(t *testing.T) {
	t.Parallel()
	b := mustNew(t, nil)
	for _, value := range []any{"oops", http.ErrAbortHandler} {
		h := b.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) }))
		for range 10 {
			func() {
				defer func() {
					if got := recover(); got != value {
						t.Errorf("recovered %v, want %v", got, value)
					}
				}()
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			}()
		}
	}
	check(t, b, Open)
}

// failsafehttp reads whole request bodies, retries, and waits not for dates. A breaker
// does nothing to requests: each is sent once, as it comes.
func TestTrap09And10RequestsAreSentOnceAndAsTheyAre(t *testing.T) {
	t.Parallel()
	b := mustNew(t, nil)
	sent := 0
	read := false
	r := newRequest(t)
	r.Method = "POST"
	r.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { read = true; return 0, io.EOF }))
	rt := b.Transport(roundTripper(func(got *http.Request) (*http.Response, error) {
		sent++
		if read || got != r {
			t.Errorf("the body was read: %v; the request is the caller's: %v", read, got == r)
		}
		return answering(503, "sorry")(got)
	}))
	resp, err := rt.RoundTrip(r)
	if err != nil || resp.StatusCode != 503 || sent != 1 {
		t.Fatalf("got %v, %v after %d attempts, want the 503 after one", resp, err, sent)
	}
	if text, err := io.ReadAll(resp.Body); string(text) != "sorry" || err != nil {
		t.Errorf("read %q, %v, want the body", text, err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// hedgedhttp leaves bodies of losers open. Here every response is the caller's, and what
// the caller closes is closed.
func TestTrap11BodiesAreClosed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 429, 500} {
		b := mustNew(t, nil)
		closed := 0
		rt := b.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := answering(status, "body")(r)
			resp.Body = closer{resp.Body, &closed}
			return resp, err
		}))
		if err := send(rt, newRequest(t)); err != nil || closed != 1 {
			t.Errorf("%d: %v, closed %d times, want once", status, err, closed)
		}
	}
	// And those of requests that are refused.
	b := mustNew(t, nil)
	b.Force(ForceOpen)
	closed := 0
	r := newRequest(t)
	r.Body = closer{io.NopCloser(strings.NewReader("x")), &closed}
	if err := send(b.Transport(answering(200, "")), r); !errors.Is(err, ErrOpen) || closed != 1 {
		t.Errorf("refused: %v, closed %d times, want once", err, closed)
	}
}

type closer struct {
	io.ReadCloser
	n *int
}

func (c closer) Close() error { *c.n++; return c.ReadCloser.Close() }

// hystrix-go leaves a goroutine behind for each call that times out. No goroutine is
// started here: a bubble ends only when all have.
func TestTrap12NoGoroutines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, &Options{Consecutive: 5})
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, _ = Do(ctx, b, func(ctx context.Context) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			})
			cancel()
		}
		if b.Stats().Opened == 0 {
			t.Error("it has not opened")
		}
	})
}

// go-fault holds handlers of clients that have left. A guarded handler is told at once,
// and does not count.
func TestTrap13ClientsThatLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, &Options{Consecutive: 1})
		h := b.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusInternalServerError)
		}))
		start := time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, nil)
		time.AfterFunc(10*time.Millisecond, cancel)
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("the handler ends after %v, want 10ms", took)
		}
		check(t, b, Closed)
		// A handler that lets a deadline pass has failed, if it had the time.
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		check(t, b, Open)
	})
}

// Without traffic, the state of others stays what it was.
func TestTrap14StateWithoutTraffic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := opened(t, steady())
		gauge := func() (state string) {
			for m := range b.Metrics {
				if m.Name == "uprung_breaker_state" && m.Value == 1 {
					state += m.Labels[1].Value
				}
			}
			return state
		}
		if got := gauge(); got != "open" {
			t.Errorf("the gauge says %q, want open", got)
		}
		time.Sleep(10 * time.Second)
		if got := gauge(); got != "half-open" {
			t.Errorf("the gauge says %q after the open time, want half-open", got)
		}
		check(t, b, HalfOpen)
	})
}

// A breaker that is fed by headers does not see bodies that break off.
func TestTrap15TruncatedBodies(t *testing.T) {
	t.Parallel()
	b := mustNew(t, nil)
	rt := b.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := answering(200, "")(r)
		resp.ContentLength = 10
		resp.Body = io.NopCloser(readerFunc(func([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }))
		return resp, err
	}))
	for range 20 {
		if err := send(rt, newRequest(t)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("error is %v, want the one of the body", err)
		}
	}
	check(t, b, Open)
}

// Instants are counted from New: a bubble is years before an epoch of the package.
func TestTrap16InABubbleAndOut(t *testing.T) {
	t.Parallel()
	outside := mustNew(t, steady())
	synctest.Test(t, func(t *testing.T) {
		inside := opened(t, steady())
		time.Sleep(time.Second)
		end(inside, 3, uprung.Success)
		check(t, inside, Closed)
		end(outside, 20, uprung.Failure) // made at another time of another clock
	})
	// A panic in ReadyToTrip makes gobreaker count twice. There is no such function here,
	// and a panic of OnChange changes nothing.
	o := steady()
	told := 0
	o.OnChange = func(Event) { told++; panic("oops") }
	b := mustNew(t, o)
	func() {
		defer func() { _ = recover() }()
		end(b, 20, uprung.Failure)
	}()
	if s := b.Stats(); s.State != Open || s.Failures != 20 || told != 1 {
		t.Errorf("%+v, told %d times, want 20 failures and one opening", s, told)
	}
	func() {
		defer func() { _ = recover() }()
		b.Force(ForceNone)
	}()
	if told != 2 {
		t.Errorf("told %d times, want also of the next change", told)
	}
}

// Read, not run: results of calls that began before a change of state are dropped, and
// leave no slot taken.
func TestTrapLateResults(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, steady())
		var before []Permit
		for range 10 {
			before = append(before, allow(t, b))
		}
		end(b, 20, uprung.Failure)
		for i := range 5 {
			before[i].Done(uprung.Success) // while it is open: they do not close it
		}
		check(t, b, Open)
		time.Sleep(time.Second)
		check(t, b, HalfOpen)
		for i := 5; i < 10; i++ {
			before[i].Done(uprung.Success)
		}
		check(t, b, HalfOpen)
		// Two generations of probes: the older ones neither count nor take slots.
		first := [3]Permit{allow(t, b), allow(t, b), allow(t, b)}
		first[0].Done(uprung.Failure)
		time.Sleep(time.Second)
		second := [3]Permit{allow(t, b), allow(t, b), allow(t, b)}
		first[1].Done(uprung.Success)
		first[2].Done(uprung.Failure)
		check(t, b, HalfOpen)
		for i := range second {
			second[i].Done(uprung.Success)
		}
		check(t, b, Closed)
		if s := b.Stats(); s.Late != 12 {
			t.Errorf("%d late results, want 12", s.Late)
		}
	})
}

// An outcome that does not count frees the slot of a probe.
func TestTrapExcludedProbesFreeTheirSlots(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, o := range []uprung.Outcome{uprung.Ignored, uprung.Overload} {
			b := opened(t, steady())
			time.Sleep(time.Second)
			if got := end(b, 100, o); got != 100 {
				t.Errorf("%v: %d of 100 calls are let through, want all", o, got)
			}
			check(t, b, HalfOpen)
			end(b, 3, uprung.Success)
			check(t, b, Closed)
		}
	})
}

// A hang under nothing but the timeout of a client opens the breaker.
func TestHangUnderAClientTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, steady())
		network := memnet.Listen()
		server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}
		go func() { _ = server.Serve(network) }()
		defer server.Close()
		base := &http.Transport{DialContext: network.DialContext}
		defer base.CloseIdleConnections()
		client := &http.Client{Transport: b.Transport(base), Timeout: 2 * time.Second}
		var callers sync.WaitGroup
		for range 20 {
			callers.Go(func() {
				if resp, err := client.Get("http://orders/"); err == nil {
					_ = resp.Body.Close()
					t.Error("got an answer")
				}
			})
		}
		callers.Wait()
		check(t, b, Open)
		if _, err := client.Get("http://orders/"); !errors.Is(err, ErrOpen) {
			t.Errorf("error is %v, want ErrOpen", err)
		}
	})
}

// A stream of events that is open for an hour keeps nothing half-open, and is not slow.
func TestStreamOpenForAnHour(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := steady()
		o.SlowCall = time.Second
		b := opened(t, o)
		pr, pw := io.Pipe()
		rt := b.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: pr, ContentLength: -1, Request: r}, nil
		}))
		time.Sleep(time.Second)
		resp, err := rt.RoundTrip(newRequest(t)) // a probe
		if err != nil {
			t.Fatal(err)
		}
		end(b, 2, uprung.Success)
		check(t, b, HalfOpen)
		time.Sleep(time.Second)
		check(t, b, Closed)
		time.Sleep(time.Hour)
		_ = pw.CloseWithError(errBroken)
		_, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		check(t, b, Closed)
		if s := b.Stats(); s.Slow != 0 || s.Late != 1 || s.WindowFailures != 0 {
			t.Errorf("%+v, want a late result, and none that is slow", s)
		}
	})
}

// Never more probes at a time than there may be, however many call.
func TestProbesAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := opened(t, steady())
		for range 20 {
			time.Sleep(b.Stats().RetryAfter)
			var now, most atomic.Int32
			var callers sync.WaitGroup
			for range 200 {
				callers.Go(func() {
					_, _ = Do(t.Context(), b, func(context.Context) (int, error) {
						most.Store(max(most.Load(), now.Add(1)))
						time.Sleep(time.Millisecond)
						now.Add(-1)
						return 0, errBroken
					})
				})
			}
			callers.Wait()
			if got := most.Load(); got != 3 {
				t.Fatalf("%d probes at one time, want 3", got)
			}
		}
	})
}

// Transitions are logged, and nothing else is.
func TestTransitionsAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var out strings.Builder
		o := steady()
		o.Name = "orders"
		o.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		opened(t, o)
		if got, want := out.String(), "level=INFO msg=\"breaker changed state\" breaker=orders from=closed to=open reason=failures open_for=1s\n"; got != want {
			t.Errorf("logged %q, want %q", got, want)
		}
	})
}
