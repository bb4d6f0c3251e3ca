package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

// Two bursts 60 ms apart, on either side of every boundary that a window could
// have, get one burst and what 60 ms refill.
func TestWindowBoundaryGrantsNoDoubleBurst(t *testing.T) {
	t.Parallel()
	for offset := time.Duration(0); offset < 2*time.Second; offset += 50 * time.Millisecond {
		l := newLimiter(t, PerSecond(1000), nil)
		var granted int64
		for _, at := range []time.Duration{offset, offset + 60*time.Millisecond} {
			for range 1500 {
				granted += take(t, l, at, "k", 1).Granted
			}
		}
		if granted != 1060 {
			t.Fatalf("bursts at %v and 60ms later were granted %d, want 1060", offset, granted)
		}
	}
}

func TestEveryIntervalStaysWithinBurstPlusRate(t *testing.T) {
	t.Parallel()
	limit := PerSecond(50).WithBurst(20)
	demand := func(t *testing.T, l *Limiter, aside func(at time.Duration)) []grant {
		r := seeded(t)
		var history []grant
		for at := time.Duration(0); at < time.Minute; {
			// Silence, trickle and storm.
			at += time.Duration(r.ExpFloat64() * float64([]time.Duration{time.Second / 2, time.Second / 50, 300 * time.Microsecond}[int(at/time.Second)%3]))
			res := take(t, l, at, "k", 1+r.Int64N(3))
			if res.Allowed {
				history = append(history, grant{at, res.Granted})
			}
			if aside != nil {
				aside(at)
			}
		}
		return history
	}
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		conforms(t, demand(t, newLimiter(t, limit, nil), nil), limit)
	})
	// An abuser whose neighbours are evicted all the time.
	t.Run("across eviction", func(t *testing.T) {
		t.Parallel()
		l := newLimiter(t, limit, &Options{Capacity: 1})
		var history []grant
		for i := range 60_000 {
			at := time.Duration(i) * time.Millisecond
			for { // whatever there is
				res := take(t, l, at, "abuser", 1)
				if !res.Allowed {
					break
				}
				history = append(history, grant{at, 1})
			}
			take(t, l, at, fmt.Sprint("other", i), 1+int64(i%10))
		}
		if l.Stats().Evicted < 30_000 {
			t.Errorf("%d keys were evicted, want most of 60000", l.Stats().Evicted)
		}
		conforms(t, history, limit)
		if want := 20 + 50*60 - 1; len(history) < want {
			t.Errorf("%d granted, want at least %d", len(history), want)
		}
	})
	// The rate goes up and down; the burst remains.
	t.Run("across limit changes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := seeded(t)
			slow := PerSecond(7).WithBurst(20)
			l := newLimiter(t, slow, nil)
			var history []grant
			for i := range 20_000 {
				time.Sleep(time.Duration(r.Int64N(int64(3 * time.Millisecond))))
				if l.Allow("k") {
					history = append(history, grant{time.Since(l.base), 1})
				}
				if r.IntN(20) == 0 {
					if err := l.SetLimit([]Limit{slow, limit}[i%2]); err != nil {
						t.Fatal(err)
					}
				}
			}
			conforms(t, history, limit)
			if len(history) < 7*20 {
				t.Errorf("only %d granted in %v", len(history), time.Since(l.base))
			}
		})
	})
}

func TestCostAboveBurstIsPermanent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerSecond(10), nil)
		for range 3 { // full, then again, however long one waits
			res, err := l.Take(t.Context(), "k", 11)
			if !errors.Is(err, ErrExceedsBurst) || res.Allowed || res.Granted != 0 || res.RetryAfter != uprung.Never {
				t.Errorf("Take(11) = %+v, %v, want ErrExceedsBurst and never", res, err)
			}
			if res.Remaining != 10 || l.AllowN("k", 11) {
				t.Errorf("the denial of 11 took something or was none: %+v", res)
			}
			err = l.Wait(t.Context(), "k", 11)
			rejection, ok := errors.AsType[*uprung.Rejection](err)
			if !ok || !errors.Is(err, ErrExceedsBurst) || rejection.RetryAfter != uprung.Never {
				t.Errorf("Wait(11) = %v, want ErrExceedsBurst and never", err)
			}
			time.Sleep(time.Hour)
		}
		if !l.AllowN("k", 10) {
			t.Error("the burst itself is denied")
		}
	})
}

func TestNegativeCostIsRejected(t *testing.T) {
	t.Parallel()
	for _, limit := range []Limit{PerDay(10), {}, Unlimited()} {
		for _, mode := range []uprung.Mode{uprung.Enforce, uprung.Shadow} {
			l := newLimiter(t, limit, &Options{Mode: mode})
			l.AllowN("k", 4)
			before := remaining(t, l, "k")
			for _, n := range []int64{-1, -5, math.MinInt64} {
				if l.AllowN("k", n) {
					t.Errorf("%v: AllowN(%d) is granted", limit, n)
				}
				want := fmt.Sprintf("ratelimit: cost is %d events, want >= 0", n)
				_, takeErr := l.Take(t.Context(), "k", n)
				_, atErr := l.TakeAt(time.Now(), "k", n)
				_, upToErr := l.TakeUpTo(t.Context(), "k", n)
				waitErr := l.Wait(t.Context(), "k", n)
				for _, err := range []error{takeErr, atErr, upToErr, waitErr} {
					if err == nil || err.Error() != want {
						t.Errorf("%v: got %v, want %s", limit, err, want)
					}
				}
				if err := l.Refund("k", n); err == nil {
					t.Errorf("%v: Refund(%d) is accepted", limit, n)
				}
			}
			if after := remaining(t, l, "k"); after != before {
				t.Errorf("%v: %d remain, want %d as before", limit, after, before)
			}
		}
	}
}

func TestZeroCostPeeksAndDoesNotWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerSecond(10), nil)
		for i := range 100 {
			fresh := fmt.Sprint("fresh", i)
			if !l.AllowN(fresh, 0) || remaining(t, l, fresh) != 10 {
				t.Error("a fresh key is denied zero events")
			}
			if err := l.Wait(t.Context(), fresh, 0); err != nil {
				t.Error(err)
			}
			if err := l.Refund(fresh, 1); err != nil {
				t.Error(err)
			}
			l.Reset(fresh)
		}
		if s := l.Stats(); s.Keys != 0 || s.Granted+s.Denied != 0 {
			t.Errorf("%+v, want no key and no decision", s)
		}
		l.AllowN("k", 10)
		want := Result{Allowed: true, Limit: 10, ResetAfter: time.Second}
		for range 3 {
			for name, f := range map[string]func() (Result, error){
				"Peek":        func() (Result, error) { return l.Peek("k") },
				"Take(0)":     func() (Result, error) { return l.Take(t.Context(), "k", 0) },
				"TakeUpTo(0)": func() (Result, error) { return l.TakeUpTo(t.Context(), "k", 0) },
			} {
				if got, err := f(); err != nil || got != want {
					t.Errorf("%s of an empty bucket = %+v, %v, want %+v", name, got, err, want)
				}
			}
		}
	})
}

func TestHugeCostSaturates(t *testing.T) {
	t.Parallel()
	for _, limit := range []Limit{PerDay(10), PerSecond(1), PerSecond(fastest), PerDay(1).WithBurst(730)} {
		for _, n := range []int64{1 << 31, 1 << 53, 1 << 62, 1<<62 + 1, math.MaxInt64 - 1, math.MaxInt64} {
			if n <= limit.burst() {
				continue
			}
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, limit, nil)
				if l.AllowN("k", n) {
					t.Errorf("%v: %d are granted", limit, n)
				}
				if res, err := l.Take(t.Context(), "k", n); !errors.Is(err, ErrExceedsBurst) || res.Allowed || res.Remaining != limit.burst() {
					t.Errorf("%v: Take(%d) = %+v, %v", limit, n, res, err)
				}
				if res, err := l.TakeUpTo(t.Context(), "k", n); err != nil || res.Granted != limit.burst() || res.Remaining != 0 {
					t.Errorf("%v: TakeUpTo(%d) = %+v, %v", limit, n, res, err)
				}
				if l.AllowN("k", n) || l.Allow("k") {
					t.Errorf("%v: more is granted after the burst", limit)
				}
				if err := l.Refund("k", n); err != nil || remaining(t, l, "k") != limit.burst() {
					t.Errorf("%v: Refund(%d) = %v and leaves %d", limit, n, err, remaining(t, l, "k"))
				}
			})
		}
	}
}

// What is taken at most is not an error because more was asked for than there
// can be, and whoever gets nothing learns when there will be something.
func TestTakeUpToNeverExceedsBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerSecond(10), nil)
		for _, tt := range []struct {
			n, granted int64
			retry      time.Duration
		}{
			{4, 4, 0},
			{250, 6, 0},
			{250, 0, 100 * time.Millisecond},
			{7, 0, 100 * time.Millisecond},
			{math.MaxInt64, 0, 100 * time.Millisecond},
		} {
			res, err := l.TakeUpTo(t.Context(), "k", tt.n)
			if err != nil || res.Granted != tt.granted || res.Allowed != (tt.granted > 0) || res.RetryAfter != tt.retry {
				t.Errorf("TakeUpTo(%d) = %+v, %v, want %d granted, retry after %v", tt.n, res, err, tt.granted, tt.retry)
			}
		}
	})
}

// Instants that go back give nothing back: the bucket refills late, never early.
func TestClockSteppingBack(t *testing.T) {
	t.Parallel()
	const start = 48 * time.Hour
	for _, back := range []time.Duration{1, time.Microsecond, time.Second, time.Hour, 24 * time.Hour} {
		l := newLimiter(t, PerSecond(10), nil)
		if got := take(t, l, start, "k", 10); !got.Allowed {
			t.Fatalf("the burst is denied: %+v", got)
		}
		for range 3 {
			res := take(t, l, start-back, "k", 1)
			if res.Allowed || res.Remaining != 0 || res.RetryAfter != back+100*time.Millisecond {
				t.Errorf("%v back: %+v, want to wait for that and 100ms", back, res)
			}
			if res := take(t, l, start, "k", 1); res.Allowed || res.RetryAfter != 100*time.Millisecond {
				t.Errorf("%v back and forth: %+v, want to wait for 100ms", back, res)
			}
		}
		if res := take(t, l, start-back, "other", 10); !res.Allowed {
			t.Errorf("%v back: another key is denied: %+v", back, res)
		}
		if res := take(t, l, start+time.Second, "k", 10); !res.Allowed {
			t.Errorf("%v back: a second later the bucket is not full: %+v", back, res)
		}
	}
	// A trace with stale instants is granted no more than one in order would be.
	r := seeded(t)
	limit := PerSecond(100).WithBurst(30)
	l := newLimiter(t, limit, nil)
	var latest time.Duration
	var history []grant
	for range 50_000 {
		latest += time.Duration(r.Int64N(int64(2 * time.Millisecond)))
		at := max(latest-time.Duration(logUniform(r, int64(time.Minute))), 0)
		if r.IntN(2) == 0 {
			at = latest
		}
		if take(t, l, at, "k", 1).Allowed {
			history = append(history, grant{at, 1})
		}
	}
	slices.SortStableFunc(history, func(a, b grant) int { return cmp.Compare(a.at, b.at) })
	conforms(t, history, limit)
}

// Instants beyond those that are told apart are taken for the nearest of them,
// and never wrap round into a full bucket.
func TestInstantsFarOutAreClamped(t *testing.T) {
	t.Parallel()
	const year = 365 * day
	instants := []time.Duration{math.MinInt64, -200 * year, -4 * year, -3 * year, -1, 0, 1, 2 * year, 5 * year, 6 * year, 9 * year, 13 * year, math.MaxInt64}
	for _, limit := range []Limit{PerSecond(10), PerDay(1).WithBurst(730)} {
		for i, first := range instants {
			for _, then := range instants[:i+1] {
				l := newLimiter(t, limit, nil)
				if res := take(t, l, first, "k", limit.burst()); !res.Allowed {
					t.Fatalf("%v: the burst at %v: %+v", limit, first, res)
				}
				if res := take(t, l, then, "k", 1); res.Allowed || res.Remaining != 0 || res.RetryAfter <= 0 {
					t.Errorf("%v: the burst at %v, then one at %v: %+v, want a denial", limit, first, then, res)
				}
				if res := take(t, l, math.MaxInt64, "k", 1); first < 0 && !res.Allowed {
					t.Errorf("%v: the burst at %v, then one at the end of time: %+v", limit, first, res)
				}
			}
		}
	}
}

// In a bubble the clock stands decades from where the process started.
func TestBaseIsCapturedByTheConstructor(t *testing.T) {
	t.Parallel()
	for range 2 { // each bubble starts anew
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(20 * 365 * day)
			l := newLimiter(t, PerHour(1), nil)
			if got := l.now(); got != startOfTime {
				t.Errorf("the clock shows %d at New, want %d", got, int64(startOfTime))
			}
			for range 3 {
				if !l.Allow("k") {
					t.Error("a full bucket is denied")
				}
				time.Sleep(time.Hour - 1)
				if l.Allow("k") {
					t.Error("granted a nanosecond early")
				}
				time.Sleep(1)
			}
		})
	}
}

// randomLimit returns a limit that is valid and not unlimited.
func randomLimit(r *rand.Rand) Limit {
	for {
		limit := Limit{
			Events: logUniform(r, 1e9),
			Period: time.Duration(logUniform(r, int64(day))),
			Burst:  logUniform(r, 1e6),
		}
		if r.IntN(2) == 0 {
			limit.Period = []time.Duration{time.Millisecond, time.Second, time.Minute, time.Hour, day}[r.IntN(5)]
		}
		if limit.Validate() == nil {
			return limit
		}
	}
}

func TestResultIsExactToTheNanosecond(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for range 1000 {
		limit := randomLimit(r)
		b, _ := limit.compile()
		l := newLimiter(t, limit, &Options{Capacity: 1})
		at := time.Duration(r.Int64N(int64(day)))
		for range 20 {
			n := 1 + r.Int64N(limit.burst())
			res := take(t, l, at, "k", n)
			if res.Remaining < 0 || res.Remaining > res.Limit || res.ResetAfter < 0 {
				t.Fatalf("%v: %+v", limit, res)
			}
			peek := func(after time.Duration, n int64) bool {
				c := call{hash: l.hash("k"), now: l.ticks(at + after)}
				if err := l.decide(&c); err != nil {
					t.Fatal(err)
				}
				return c.debt+b.costOf(n) <= b.capacity
			}
			if res.Remaining > 0 && !peek(0, res.Remaining) || res.Remaining < res.Limit && peek(0, res.Remaining+1) {
				t.Fatalf("%v: %d remain is wrong", limit, res.Remaining)
			}
			if !peek(res.ResetAfter, res.Limit) || res.ResetAfter > 0 && peek(res.ResetAfter-1, res.Limit) {
				t.Fatalf("%v: full after %v is wrong", limit, res.ResetAfter)
			}
			if res.Allowed {
				if res.RetryAfter != 0 || res.Granted != n {
					t.Fatalf("%v: %d granted: %+v", limit, n, res)
				}
				at += time.Duration(r.Int64N(int64(nanos(b.cost)) + 1))
				continue
			}
			if early := take(t, l, at+res.RetryAfter-1, "k", n); early.Allowed {
				t.Fatalf("%v: %d granted 1ns before %v", limit, n, res.RetryAfter)
			}
			if at += res.RetryAfter; at > 5*365*day {
				break // beyond which instants are soon not told apart
			}
			if due := take(t, l, at, "k", n); !due.Allowed {
				t.Fatalf("%v: %d not granted after %v: %+v", limit, n, res.RetryAfter, due)
			}
		}
	}
}

// A decision that starts again because the limit changed under it forgets what
// it had weighed.
func TestDecisionThatStartsAgainForgetsWhatItWeighed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		limit Limit
		mode  uprung.Mode
		want  Result
	}{
		{"nothing is granted", Limit{}, uprung.Enforce, Result{RetryAfter: uprung.Never}},
		{"shadow", Limit{}, uprung.Shadow, Result{Allowed: true, Granted: 5, Shadowed: true}},
		{"off", PerSecond(10), uprung.Off, Result{Allowed: true, Granted: 5, Limit: 10, Remaining: 10}},
		{"everything is granted", Unlimited(), uprung.Enforce,
			Result{Allowed: true, Granted: 5, Limit: math.MaxInt64, Remaining: math.MaxInt64}},
	} {
		l := newLimiter(t, tt.limit, &Options{Mode: tt.mode})
		c := call{hash: l.hash("k"), key: "k", now: l.now(), n: 5}
		c.ok, c.granted, c.charge, c.debt, c.wait = true, 5, 5000, 700, 3
		if got, err := l.take(&c); err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}
