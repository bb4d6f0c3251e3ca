package ratelimit

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

// line is what came of callers that wait, in the order of their return.
type line struct {
	mu      sync.Mutex
	history []grant // guarded by mu
	who     []int   // guarded by mu
	start   time.Time
}

func (q *line) served(who int, n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.history = append(q.history, grant{time.Since(q.start), n})
	q.who = append(q.who, who)
}

// wait calls Wait in a goroutine and returns when it is done or blocked.
func (q *line) wait(ctx context.Context, t *testing.T, l *Limiter, who int, n int64) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		err := l.Wait(ctx, "k", n)
		if err == nil {
			q.served(who, n)
		}
		done <- err
	}()
	synctest.Wait()
	return done
}

func TestWaitServesInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerSecond(1).WithBurst(3), nil)
		q := &line{start: time.Now()}
		costs := []int64{3, 1, 3, 2, 1, 1, 3}
		var all []<-chan error
		for i, n := range costs {
			all = append(all, q.wait(t.Context(), t, l, i, n))
		}
		if l.Allow("k") {
			t.Error("who does not wait is served before those who do")
		}
		for i, done := range all {
			if err := <-done; err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		at := time.Duration(0)
		for i, n := range costs {
			if i > 0 {
				at += time.Duration(n) * time.Second
			}
			if q.who[i] != i || q.history[i].at != at {
				t.Errorf("served as number %d: caller %d at %v, want %d at %v", i, q.who[i], q.history[i].at, i, at)
			}
		}
		conforms(t, q.history, l.Limit())
	})
}

func TestWaitBeyondTheDeadlineReturnsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerSecond(1).WithBurst(2), &Options{Name: "slow"})
		l.AllowN("k", 2)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second-1)
		defer cancel()
		err := l.Wait(ctx, "k", 2)
		rejection, ok := errors.AsType[*uprung.Rejection](err)
		if !ok || !errors.Is(err, ErrLimited) {
			t.Fatalf("got %v, want a rejection for ErrLimited", err)
		}
		if want := (uprung.Rejection{Kind: uprung.KindRateLimit, Name: "slow", Reason: ErrLimited, RetryAfter: 2 * time.Second}); *rejection != want {
			t.Errorf("got %+v, want %+v", *rejection, want)
		}
		if got := time.Since(start); got != 0 {
			t.Errorf("it took %v, want no time", got)
		}
		if res, _ := l.Peek("k"); res.ResetAfter != 2*time.Second {
			t.Errorf("it cost something: %+v", res)
		}
		if err := l.Wait(ctx, "k", 1); err != nil || time.Since(start) != time.Second {
			t.Errorf("a wait within the deadline: %v after %v, want 1s", err, time.Since(start))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Wait(gone, "other", 1); !errors.Is(err, context.Canceled) || remaining(t, l, "other") != 2 {
			t.Errorf("a context that has ended: %v, %d remain", err, remaining(t, l, "other"))
		}
		for _, tt := range []struct {
			limit Limit
			n     int64
			want  error
		}{
			{PerSecond(1), 2, ErrExceedsBurst},
			{Limit{}, 1, ErrLimited},
		} {
			l := newLimiter(t, tt.limit, nil)
			err := l.Wait(t.Context(), "k", tt.n)
			if rejection, ok := errors.AsType[*uprung.Rejection](err); !ok || !errors.Is(err, tt.want) || rejection.RetryAfter != uprung.Never {
				t.Errorf("%v: Wait(%d) = %v, want %v for ever", tt.limit, tt.n, err, tt.want)
			}
		}
		if got := newLimiter(t, Unlimited(), nil).Wait(t.Context(), "k", 1<<62); got != nil {
			t.Errorf("Unlimited: %v", got)
		}
	})
}

// Who leaves gives back what it took if nobody has queued up behind, and nobody
// who stays is served later for it, or earlier than was promised.
func TestCancelledWaitGivesBackWhatIsLast(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		costs  []int64
		leaves []int
		debt   time.Duration // after it, at one event per second
	}{
		{"the only one", []int64{3}, []int{0}, 5 * time.Second},
		{"the last", []int64{1, 3}, []int{1}, 6 * time.Second},
		{"one in the middle, as large as who follows", []int64{2, 2}, []int{0}, 9 * time.Second},
		{"one in the middle, larger than who follows", []int64{5, 2}, []int{0}, 12 * time.Second},
		{"one in the middle, smaller than who follows", []int64{1, 4}, []int{0}, 10 * time.Second},
		{"all, the last first", []int64{1, 2, 3}, []int{2, 1, 0}, 5 * time.Second},
		{"all, the first first", []int64{1, 2, 3}, []int{0, 1, 2}, 8 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, PerSecond(1).WithBurst(5), nil)
			l.AllowN("k", 5)
			q := &line{start: time.Now()}
			var cancels []context.CancelFunc
			var all []<-chan error
			for i, n := range tt.costs {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cancels = append(cancels, cancel)
				all = append(all, q.wait(ctx, t, l, i, n))
			}
			for _, i := range tt.leaves {
				cancels[i]()
				if err := <-all[i]; !errors.Is(err, context.Canceled) {
					t.Errorf("%s: caller %d: %v", tt.name, i, err)
				}
			}
			if res, _ := l.Peek("k"); res.ResetAfter != tt.debt {
				t.Errorf("%s: full after %v, want %v", tt.name, res.ResetAfter, tt.debt)
			}
			at := time.Duration(0)
			for i, n := range tt.costs {
				at += time.Duration(n) * time.Second
				if slices.Contains(tt.leaves, i) {
					continue
				}
				if err := <-all[i]; err != nil || time.Since(q.start) != at {
					t.Errorf("%s: caller %d: %v at %v, want %v", tt.name, i, err, time.Since(q.start), at)
				}
			}
		})
	}
}

// What was refunded, or forgotten, while somebody waited is not given back once
// more when that one leaves.
func TestCancelledWaitAfterRefundGivesBackItsOwnAtMost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		between func(l *Limiter)
		debt    time.Duration
	}{
		{"nothing", func(*Limiter) {}, 10 * time.Second},
		{"a refund", func(l *Limiter) { _ = l.Refund("k", 3) }, 7 * time.Second},
		{"a refund of more than what was waited for", func(l *Limiter) { _ = l.Refund("k", 8) }, 2 * time.Second},
		{"a reset", func(l *Limiter) { l.Reset("k") }, 0},
		{"a reset and new events", func(l *Limiter) { l.Reset("k"); l.AllowN("k", 9) }, 4 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, PerSecond(1).WithBurst(10), nil)
			l.AllowN("k", 10)
			q := &line{start: time.Now()}
			ctx, cancel := context.WithCancel(t.Context())
			done := q.wait(ctx, t, l, 0, 5)
			tt.between(l)
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if res, _ := l.Peek("k"); res.ResetAfter != tt.debt {
				t.Errorf("%s: full after %v, want %v", tt.name, res.ResetAfter, tt.debt)
			}
		})
	}
}

// A line of callers, of which many leave, and others that do not wait: no
// interval is granted more than the burst and the rate allow.
func TestEveryIntervalStaysWithinBurstPlusRateWithWaiters(t *testing.T) {
	t.Parallel()
	for _, limit := range []Limit{PerSecond(10).WithBurst(1), PerSecond(10), PerSecond(10).WithBurst(50)} {
		synctest.Test(t, func(t *testing.T) {
			r := seeded(t)
			l := newLimiter(t, limit, nil)
			q := &line{start: time.Now()}
			var wg sync.WaitGroup
			left := 0
			for i := range 3000 {
				time.Sleep(time.Duration(r.ExpFloat64() * float64(300*time.Millisecond)))
				n := 1 + r.Int64N(min(limit.Burst+limit.Events, limit.burst()))
				if r.IntN(5) == 0 {
					if l.AllowN("k", n) {
						q.served(i, n)
					}
					continue
				}
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(2) == 0 {
					left++
					time.AfterFunc(time.Duration(r.ExpFloat64()*float64(2*time.Second)), cancel)
				}
				if r.IntN(10) == 0 {
					ctx, cancel = withTimeout(ctx, cancel, time.Duration(rand.ExpFloat64()*float64(3*time.Second)))
				}
				wg.Go(func() {
					defer cancel()
					if l.Wait(ctx, "k", n) == nil {
						q.served(i, n)
					}
				})
			}
			wg.Wait()
			slices.SortStableFunc(q.history, func(a, b grant) int { return cmp.Compare(a.at, b.at) })
			conforms(t, q.history, limit)
			if len(q.history) < 300 {
				t.Errorf("%v: %d were served of 3000, %d left", limit, len(q.history), left)
			}
		})
	}
}

// withTimeout adds a deadline to a context and joins the two cancel functions.
func withTimeout(ctx context.Context, cancel context.CancelFunc, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancelDeadline := context.WithTimeout(ctx, d)
	return ctx, func() { cancelDeadline(); cancel() }
}

// Those who wait when the limit changes are served when they were told, and what
// is granted to others comes on top of that no more than the limits allow.
func TestLimitChangeKeepsThoseWhoWait(t *testing.T) {
	t.Parallel()
	for _, to := range []Limit{PerSecond(2).WithBurst(1), PerSecond(10).WithBurst(1), PerMinute(30).WithBurst(1), PerSecond(2).WithBurst(5)} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, PerSecond(1), nil)
			q := &line{start: time.Now()}
			var all []<-chan error
			for i := range 10 {
				all = append(all, q.wait(t.Context(), t, l, i, 1))
			}
			set(t, l, to)
			others := 0
			for range 200 {
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if l.Allow("k") {
					others++
					q.served(-1, 1)
				}
			}
			for i, done := range all {
				if err := <-done; err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			}
			for i := range 10 {
				if q.who[i] != i || q.history[i].at != time.Duration(i)*time.Second {
					t.Errorf("%v: as number %d came %d at %v", to, i, q.who[i], q.history[i].at)
				}
			}
			bound := to
			if to.Events*int64(time.Second) < int64(to.Period) {
				bound = PerSecond(1)
			}
			conforms(t, q.history, bound)
			if others == 0 {
				t.Errorf("%v: nobody else was served in 20s", to)
			}
		})
	}
}

func TestWaitOfManyKeysIsIndependent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerSecond(1), nil)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				for range 5 {
					if err := l.Wait(t.Context(), strconv.Itoa(i), 1); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := time.Since(start); got != 4*time.Second {
			t.Errorf("five events each took %v, want 4s", got)
		}
	})
}

func TestWaitForNothingDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerMinute(1), nil)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = l.Wait(t.Context(), "k", 1) })
		}
		synctest.Wait()
		start := time.Now()
		if err := l.Wait(t.Context(), "k", 0); err != nil || time.Since(start) != 0 {
			t.Errorf("waited %v, %v", time.Since(start), err)
		}
		wg.Wait()
	})
}

func TestCancelledWaitGivesBackAcrossAChangeOfMode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerMinute(1), nil)
		l.Allow("k")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = l.Wait(ctx, "k", 1) })
		synctest.Wait()
		for _, mode := range []uprung.Mode{uprung.Percent(50), uprung.Enforce} {
			if err := l.SetMode(mode); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		wg.Wait()
		time.Sleep(time.Minute)
		if !l.Allow("k") {
			t.Error("the event was not given back")
		}
	})
}
