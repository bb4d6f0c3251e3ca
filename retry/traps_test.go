package retry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A caller that leaves is no failure: nothing is repeated, and nothing taken from the
// budget.
func TestTrap05CallersCancelIsNeutral(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{{status: 200, after: time.Minute}}}
		r := mustNew(t, &Options{Budget: Budget{PerRequest: -1, PerSecond: -1}})
		for range 6 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			if _, err := send(r.Transport(s), newRequest(t, "GET", "").WithContext(ctx)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
		}
		if got := r.Stats(); s.attempts() != 6 || got != (Stats{Requests: 6, Tokens: 10}) {
			t.Errorf("%d attempts, stats are %+v, want 6 and a full budget", s.attempts(), got)
		}
	})
}

// discarded is a body that never ends, whose reads may hang until it is closed.
type discarded struct {
	hangs  bool
	read   atomic.Int64
	closed chan struct{}
}

func (d *discarded) Read(p []byte) (int, error) {
	if d.hangs {
		<-d.closed
		return 0, errReset
	}
	d.read.Add(int64(len(p)))
	return len(p), nil
}

func (d *discarded) Close() error {
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	return nil
}

// What is discarded is read within a limit and a time, and closed.
func TestTrap09DiscardedBodiesAreDrainedWithinALimit(t *testing.T) {
	t.Parallel()
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			endless := &discarded{hangs: hangs, closed: make(chan struct{})}
			first := true
			rt := mustNew(t, &Options{Backoff: 1}).Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
				if first {
					first = false
					return &http.Response{StatusCode: 500, Body: endless, Request: r}, nil
				}
				return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
			}))
			start := time.Now()
			if status, err := send(rt, newRequest(t, "GET", "")); status != 200 || err != nil {
				t.Errorf("hangs %v: got %d, %v, want 200", hangs, status, err)
			}
			if took := time.Since(start); took > drainFor+time.Millisecond || endless.read.Load() > drained {
				t.Errorf("hangs %v: %d bytes were read in %v, want at most %d in %v", hangs, endless.read.Load(), took, drained, drainFor)
			}
			select {
			case <-endless.closed:
			default:
				t.Errorf("hangs %v: the body is open", hangs)
			}
		})
	}
	// What is short is read to its end, so that its connection can be used again.
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{{status: 500, body: "sorry"}, {status: 200}}}
		if _, err := send(mustNew(t, nil).Transport(s), newRequest(t, "GET", "")); err != nil {
			t.Fatal(err)
		}
		if left, _ := io.ReadAll(s.bodies[0].Reader); len(left) > 0 {
			t.Errorf("%q was not read", left)
		}
	})
}

// Attempts that take too long, and hedges, leave nothing behind: a bubble does not end
// before its goroutines have.
func TestTrap12TimeoutsLeaveNoGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{{after: time.Hour}}}
		r := mustNew(t, &Options{AttemptTimeout: time.Second, HedgeAt: 0.95})
		for range 100 {
			r.times.record(r.now(), 100*time.Millisecond)
		}
		start := time.Now()
		for range 100 {
			if _, err := send(r.Transport(s), newRequest(t, "GET", "")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the timeout of an attempt", err)
			}
		}
		took := time.Since(start)
		synctest.Wait()
		if time.Since(start) != took || s.open() != 0 {
			t.Errorf("%d bodies are open", s.open())
		}
	})
}

// An answer at the very instant of the timeout is either returned, and then it can be
// read, or it came too late.
func TestTrapContextLivesUntilTheBodyEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 500 {
			s := &script{steps: []step{{status: 200, after: time.Second, body: "text"}}}
			r := mustNew(t, &Options{AttemptTimeout: time.Second, Attempts: 1})
			resp, err := r.Transport(s).RoundTrip(newRequest(t, "GET", ""))
			if err != nil {
				if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
					t.Fatalf("got %v, want the timeout", err)
				}
				continue
			}
			time.Sleep(time.Minute)
			if body, err := io.ReadAll(resp.Body); string(body) != "text" || err != nil {
				t.Fatalf("read %q, %v, want the body", body, err)
			}
			_ = resp.Body.Close()
		}
	})
}

// In a bubble the time begins decades before the process does.
func TestTrap16NoEpoch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := mustNew(t, &Options{HedgeAt: 0.95, Budget: Budget{Cap: 1}})
		rt := r.Transport(answers(500, 200))
		if status, err := send(rt, newRequest(t, "GET", "")); status != 200 || err != nil {
			t.Errorf("got %d, %v, want 200", status, err)
		}
		before := r.Stats().Tokens
		time.Sleep(time.Second)
		if got := r.Stats().Tokens - before; got < 0.19 || got > 0.21 {
			t.Errorf("a second has brought %v retries, want 0.2", got)
		}
	})
}

// A retry goes to another endpoint first, with the whole body, though the transport
// has closed it; and without budget it does not go at all.
func TestTrap19RetriesGoElsewhereFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		good := answers(200)
		tried := map[string]int{}
		b := &balanced{endpoints: []string{"bad", "good"}, send: func(endpoint string, r *http.Request) (*http.Response, error) {
			tried[endpoint]++
			if endpoint == "good" {
				return good.RoundTrip(r)
			}
			_, _ = io.CopyN(io.Discard, r.Body, 2)
			_ = r.Body.Close()
			return nil, errReset
		}}
		r := mustNew(t, &Options{Budget: Budget{PerRequest: -1, PerSecond: -1, Cap: 10}})
		rt := r.Transport(b)
		request := newRequest(t, "POST", "text")
		request.Header.Set("Idempotency-Key", "1")
		for i := range 10 {
			b.next = 0 // the bad one is its first choice
			if status, err := send(rt, request.Clone(t.Context())); status != 200 || err != nil || good.sent[i].body != "text" {
				t.Fatalf("got %d, %v, want 200 from elsewhere, with the body", status, err)
			}
			var err error
			if request.Body, err = request.GetBody(); err != nil {
				t.Fatal(err)
			}
		}
		b.next = 0
		if _, err := send(rt, request); !errors.Is(err, errReset) || tried["bad"] != 11 || tried["good"] != 10 {
			t.Errorf("got %v after %v, want the error of the eleventh", err, tried)
		}
	})
}

// service is a handler that serves by a call of its own through a retrier, and passes
// on whether that went well.
func service(rt http.RoundTripper) roundTripper { return serving(asking(rt)) }

// asking is a handler that asks a backend, by a request of its own, and answers what it is
// answered.
func asking(rt http.RoundTripper) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		r, err := http.NewRequestWithContext(in.Context(), http.MethodGet, "http://below/", nil)
		if err != nil {
			panic(err)
		}
		status, err := send(rt, r)
		if err != nil {
			status = http.StatusBadGateway
		}
		w.WriteHeader(status)
	})
}

// serving is a round tripper to a handler.
func serving(h http.Handler) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	}
}

// Three services of three attempts that call one another, each with requests of its
// own, on which nobody has marked anything: their budgets bound the product.
func TestNestedServicesDoNotMultiply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := answers(500)
		var rt http.RoundTripper = mustNew(t, nil).Transport(s)
		for range 2 {
			rt = mustNew(t, nil).Transport(service(rt))
		}
		if got := amplification(t, rt, s, 20*120); got < 1.3 || got > 1.4 {
			t.Errorf("%.3f attempts for each request, want 1.11 to the power of three, and at most 1.4", got)
		}
	})
}
