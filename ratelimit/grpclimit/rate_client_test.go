package grpclimit

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/ratelimit"
)

// polled is a limiter that nobody can wait for, as one is that asks others.
type polled struct{ Limiter }

// pacers are the limiters of clients.
func pacers(t *testing.T, limit ratelimit.Limit) map[string]Limiter {
	t.Helper()
	return map[string]Limiter{
		"limiter": rateOf(t, limit, nil),
		"group":   uprung.Must(ratelimit.All(rateOf(t, limit, &ratelimit.Options{Name: "a"}), rateOf(t, limit, &ratelimit.Options{Name: "b"}))),
		"polled":  polled{rateOf(t, limit, nil)},
	}
}

// Calls and streams wait for their turn, and reach the server as often as the limit says.
func TestRateClientPaces(t *testing.T) {
	for _, w := range ways {
		for _, name := range []string{"limiter", "group", "polled"} {
			t.Run(name+"/"+w.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					begin := time.Now()
					var mu sync.Mutex
					var seen []time.Duration
					note := func() error {
						mu.Lock()
						defer mu.Unlock()
						seen = append(seen, time.Since(begin).Round(time.Second/10))
						return nil
					}
					s := &grpctest.Service{
						Unary:  func(context.Context) error { return note() },
						Stream: func(grpc.ServerStream) error { return note() },
					}
					l := pacers(t, ratelimit.Limit{Events: 1, Period: time.Second, Burst: 2})[name]
					conn := grpctest.Serve(t, s.Register, nil, rating(l, nil)...)
					var calls sync.WaitGroup
					for range 5 {
						calls.Go(func() {
							if _, err := w.call(t.Context(), conn); err != nil {
								t.Error(err)
							}
						})
					}
					calls.Wait()
					if want := []time.Duration{0, 0, time.Second, 2 * time.Second, 3 * time.Second}; !slices.Equal(seen, want) {
						t.Errorf("the server sees calls after %v, want %v", seen, want)
					}
				})
			})
		}
	}
}

// A call that cannot be granted in time is refused at once, and nothing is sent; one whose
// caller leaves stops waiting.
func TestRateClientRefuses(t *testing.T) {
	for _, w := range ways {
		for _, name := range []string{"limiter", "group", "polled"} {
			t.Run(name+"/"+w.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					var reached atomic.Int64
					l := pacers(t, ratelimit.PerMinute(1))[name]
					cost := int64(1)
					o := &RateOptions{Cost: func(context.Context, string) int64 { return cost }}
					conn := grpctest.Serve(t, echo(&reached).Register, nil, rating(l, o)...)
					if _, err := w.call(t.Context(), conn); err != nil {
						t.Fatal(err)
					}
					begin := time.Now()
					hasty, cancel := context.WithTimeout(t.Context(), 59*time.Second)
					defer cancel()
					_, err := w.call(hasty, conn)
					after, _ := grpcx.RetryAfter(err, nil)
					if status.Code(err) != codes.ResourceExhausted || !errors.Is(err, ratelimit.ErrLimited) || after < 59*time.Second || after > time.Minute {
						t.Errorf("hasty: %v, to try again after %v, want ErrLimited and a minute", err, after)
					}
					if _, rejected := errors.AsType[*uprung.Rejection](err); !rejected {
						t.Errorf("hasty: %v is no rejection", err)
					}
					cost = 2
					_, err = w.call(t.Context(), conn)
					after, asked := grpcx.RetryAfter(err, nil)
					if status.Code(err) != codes.ResourceExhausted || !errors.Is(err, ratelimit.ErrExceedsBurst) || asked {
						t.Errorf("too dear: %v, to try again after %v, want ErrExceedsBurst", err, after)
					}
					cost = 1
					if time.Since(begin) > time.Second {
						t.Errorf("refusals took %v", time.Since(begin))
					}
					leaving, leave := context.WithCancel(t.Context())
					time.AfterFunc(time.Second, leave)
					_, err = w.call(leaving, conn)
					if status.Code(err) != codes.Canceled || !errors.Is(err, context.Canceled) {
						t.Errorf("left: %v, want CANCELLED", err)
					}
					if reached.Load() != 1 {
						t.Errorf("%d calls reached the server, want 1", reached.Load())
					}
				})
			})
		}
	}
}

// A server that says when to come again is left alone until then, by all calls of the
// key, those included that wait for their turn already; then they are paced again.
func TestRateClientIsHeldBack(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				begin := time.Now()
				var mu sync.Mutex
				var seen []time.Duration
				answer := func() error {
					mu.Lock()
					defer mu.Unlock()
					seen = append(seen, time.Since(begin).Round(time.Second/10))
					if len(seen) == 1 {
						return grpcx.Refuse(codes.ResourceExhausted, &uprung.Rejection{RetryAfter: 10 * time.Second})
					}
					return nil
				}
				s := &grpctest.Service{
					Unary:  func(context.Context) error { return answer() },
					Stream: func(grpc.ServerStream) error { return answer() },
				}
				l := rateOf(t, ratelimit.Limit{Events: 1, Period: time.Second, Burst: 1}, nil)
				conn := grpctest.Serve(t, s.Register, nil, rating(l, nil)...)
				if _, err := w.call(t.Context(), conn); status.Code(err) != codes.ResourceExhausted {
					t.Errorf("the first call ends with %v, want the answer as it is", err)
				}
				hasty, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if _, err := w.call(hasty, conn); !errors.Is(err, ratelimit.ErrLimited) || time.Since(begin) > time.Second {
					t.Errorf("a call without time for it ends with %v after %v", err, time.Since(begin))
				}
				var calls sync.WaitGroup
				for range 3 {
					calls.Go(func() {
						if _, err := w.call(t.Context(), conn); err != nil {
							t.Error(err)
						}
					})
				}
				calls.Wait()
				if want := []time.Duration{0, 10 * time.Second, 11 * time.Second, 12 * time.Second}; !slices.Equal(seen, want) {
					t.Errorf("the server sees calls after %v, want %v", seen, want)
				}
			})
		})
	}
}

// Who waits for a turn when the server asks for patience queues up again.
func TestThoseWhoWaitAreHeldBackToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		begin := time.Now()
		l := rateOf(t, ratelimit.Limit{Events: 1, Period: time.Second, Burst: 1}, nil)
		p := newPacer(l, &RateOptions{Key: ByMethod()})
		conn := grpctest.Serve(t, echo(new(atomic.Int64)).Register, nil)
		var mu sync.Mutex
		var turns []time.Duration
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				if _, _, err := p.begin(t.Context(), "/a/B", conn); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				turns = append(turns, time.Since(begin))
			})
		}
		synctest.Wait() // one has had its turn, three wait
		p.held.raise("/a/B", time.Minute, time.Now())
		calls.Wait()
		want := []time.Duration{0, time.Minute, 61 * time.Second, 62 * time.Second}
		if !slices.Equal(turns, want) {
			t.Errorf("turns are after %v, want %v", turns, want)
		}
	})
}

// However many keys servers hold back, those that are remembered are bounded, and the one
// held back for the shortest time is forgotten.
func TestHoldsAreBounded(t *testing.T) {
	t.Parallel()
	var h holds
	now := time.Now()
	for i := range 3 * maxHeld {
		h.raise(strconv.Itoa(i), time.Duration(i+1)*time.Second, now)
	}
	if len(h.until) != maxHeld || h.pause("0", now) != 0 || h.pause(strconv.Itoa(3*maxHeld-1), now) != 3*maxHeld*time.Second {
		t.Errorf("%d keys are held back, want the %d for the longest", len(h.until), maxHeld)
	}
	h.raise("short", 1, now)
	if h.pause("short", now) != 0 {
		t.Error("a key is held back for which there is no room")
	}
	last := strconv.Itoa(3*maxHeld - 1)
	h.raise(last, time.Second, now)
	if h.pause(last, now) != 3*maxHeld*time.Second {
		t.Error("a key is released by a shorter time")
	}
	if h.pause(last, now.Add(24*time.Hour)) != 0 || len(h.until) != maxHeld-1 {
		t.Error("a key is not forgotten when its time is over")
	}
}

// An overload elsewhere, and a mode that does not enforce, hold back nobody.
func TestWhatHoldsBackNobody(t *testing.T) {
	t.Parallel()
	asks := grpcx.Refuse(codes.ResourceExhausted, &uprung.Rejection{RetryAfter: time.Hour})
	remote := status.Convert(asks).Err()
	for name, tt := range map[string]struct {
		err  error
		mode uprung.Mode
		want bool
	}{
		"asked":         {remote, uprung.Enforce, true},
		"shadow":        {remote, uprung.Shadow, false},
		"refused here":  {asks, uprung.Enforce, false},
		"nothing asked": {status.Error(codes.ResourceExhausted, ""), uprung.Enforce, false},
		"failed":        {status.Error(codes.Internal, ""), uprung.Enforce, false},
		"well":          {nil, uprung.Enforce, false},
	} {
		p := newPacer(rateOf(t, ratelimit.PerSecond(1), &ratelimit.Options{Mode: tt.mode}), nil)
		a := ask{key: "a", n: 1}
		p.heed(t.Context(), a, tt.err, nil)
		if got := p.pause(a) > 0; got != tt.want {
			t.Errorf("%s: held back: %t, want %t", name, got, tt.want)
		}
	}
}
