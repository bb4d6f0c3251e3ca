package ratelimit

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// windowModel counts by looking at every event since New.
type windowModel struct {
	limit  int64
	period time.Duration
	events []grant
}

// used is what counts at an instant: the events of this window, and of the one
// before the share that a stretch of one period still covers, rounded up.
func (m *windowModel) used(at time.Duration) int64 {
	window, phase := at/m.period, at%m.period
	var before, since int64
	for _, e := range m.events {
		switch e.at / m.period {
		case window:
			since += e.n
		case window - 1:
			before += e.n
		}
	}
	weighted := new(big.Rat).SetFrac64(before*int64(m.period-phase), int64(m.period))
	up := new(big.Int).Div(new(big.Int).Add(weighted.Num(), new(big.Int).Sub(weighted.Denom(), big.NewInt(1))), weighted.Denom())
	return since + up.Int64()
}

func TestSlidingWindowMatchesModel(t *testing.T) {
	t.Parallel()
	rng := seeded(t)
	for range 300 {
		limit := Limit{Events: 1 + rng.Int64N(40), Period: time.Duration(1 + rng.Int64N(int64(time.Second)))}
		l := newLimiter(t, limit, &Options{Capacity: 64, Algorithm: SlidingWindow})
		m := &windowModel{limit: limit.Events, period: limit.Period}
		at := time.Duration(0)
		for op := range 200 {
			at += time.Duration(rng.Int64N(int64(limit.Period)/4 + 2))
			if rng.IntN(30) == 0 {
				at += 2 * limit.Period
			}
			n, used := rng.Int64N(limit.Events+1), m.used(at)
			res := take(t, l, at, "a", n)
			want := n <= limit.Events-used || n == 0
			if res.Allowed != want {
				t.Fatalf("%v: op %d at %v: %d of %d with %d used: allowed is %v, want %v", limit, op, at, n, limit.Events, used, res.Allowed, want)
			}
			if want {
				m.events = append(m.events, grant{at, n})
			} else {
				// Exact to the nanosecond, if the key takes none before.
				if early := at + res.RetryAfter - 1; limit.Events-m.used(early) >= n {
					t.Fatalf("%v: op %d at %v: %d fit after %v, a nanosecond before RetryAfter", limit, op, at, n, early-at)
				}
				if limit.Events-m.used(at+res.RetryAfter) < n {
					t.Fatalf("%v: op %d at %v: %d do not fit after %v", limit, op, at, n, res.RetryAfter)
				}
			}
			if got, want := res.Remaining, max(limit.Events-m.used(at), 0); got != want {
				t.Fatalf("%v: op %d at %v: %d remain, want %d", limit, op, at, got, want)
			}
			if used := m.used(at + res.ResetAfter); used != 0 {
				t.Fatalf("%v: op %d at %v: %d are used after ResetAfter %v", limit, op, at, used, res.ResetAfter)
			}
		}
	}
}

// Two bursts at the boundary of a window do not make two quotas.
func TestSlidingWindowBoundary(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, PerMinute(1000), &Options{Algorithm: SlidingWindow})
	end := time.Minute // the first window begins at New
	granted := int64(0)
	for _, at := range []time.Duration{end - 30*time.Millisecond, end + 30*time.Millisecond} {
		for range 2000 {
			granted += take(t, l, at, "a", 1).Granted
		}
	}
	if granted > 1001 {
		t.Errorf("%d granted around a boundary, want about 1000", granted)
	}
}

func TestSlidingWindowRefundResetAndHold(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, PerHour(10), &Options{Capacity: 64, Algorithm: SlidingWindow})
	l.AllowN("a", 8)
	if err := l.Refund("a", 3); err != nil {
		t.Fatal(err)
	}
	if got := remaining(t, l, "a"); got != 5 {
		t.Errorf("%d remain after a refund of 3, want 5", got)
	}
	if err := l.Refund("a", 100); err != nil {
		t.Fatal(err)
	}
	if got := remaining(t, l, "a"); got != 10 {
		t.Errorf("%d remain after a refund of everything, want 10", got)
	}
	l.AllowN("a", 10)
	l.Reset("a")
	if got := remaining(t, l, "a"); got != 10 {
		t.Errorf("%d remain after Reset, want 10", got)
	}
}

func TestSlidingWindowLimitChange(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, PerHour(10), &Options{Capacity: 64, Algorithm: SlidingWindow})
	l.AllowN("a", 7)
	for _, tt := range []struct {
		limit Limit
		want  int64
	}{{PerHour(20), 13}, {PerHour(5), 0}, {PerHour(10), 3}, {PerDay(10), 3}, {Unlimited(), Unlimited().Events}, {PerDay(8), 1}} {
		if err := l.SetLimit(tt.limit); err != nil {
			t.Fatal(err)
		}
		if got := remaining(t, l, "a"); got != tt.want {
			t.Errorf("%v: %d remain, want %d", tt.limit, got, tt.want)
		}
	}
	sound(t, l)
}

func TestSlidingWindowClockSteppingBack(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, PerMinute(10), &Options{Capacity: 64, Algorithm: SlidingWindow})
	take(t, l, time.Hour, "a", 10)
	for _, back := range []time.Duration{time.Nanosecond, time.Minute, time.Hour} {
		if take(t, l, time.Hour-back, "a", 1).Allowed {
			t.Errorf("an event is granted %v earlier", back)
		}
	}
	if !take(t, l, time.Hour+3*time.Minute, "a", 10).Allowed {
		t.Error("the quota is not back after three minutes")
	}
}

func TestSlidingWindowLimitsAreChecked(t *testing.T) {
	t.Parallel()
	for limit, want := range map[Limit]string{
		PerSecond(maxCount):         "",
		PerSecond(10).WithBurst(10): "",
		PerSecond(maxCount + 1):     "Limit.Events is 262144, want at most 262143 with SlidingWindow",
		PerSecond(10).WithBurst(5):  "Limit.Burst is 5, want 0 or Events with SlidingWindow",
		{Events: 1, Period: -1}:     "Limit.Period is -1ns",
		{}:                          "",
		Unlimited():                 "",
	} {
		_, err := New(limit, &Options{Capacity: 8, Algorithm: SlidingWindow})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", limit, err, want)
		}
	}
	if _, err := New(PerSecond(1), &Options{Algorithm: 2}); err == nil || !strings.Contains(err.Error(), "Algorithm is 2") {
		t.Errorf("an unknown algorithm: %v", err)
	}
}

func TestSlidingWindowDoesNotAllocate(t *testing.T) {
	l := newLimiter(t, PerHour(1000), &Options{Capacity: 64, Algorithm: SlidingWindow})
	if n := testing.AllocsPerRun(2000, func() { l.Allow("a") }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// Windows are numbered modulo 2^27. Beyond, the keys of before are still the first
// to go, and who has used up the quota the last.
func TestSlidingWindowEvictionAcrossTheWrap(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, Limit{Events: 10, Period: 10 * time.Millisecond}, &Options{Capacity: 16, Algorithm: SlidingWindow})
	wrap := (1 << windowBits) * 10 * time.Millisecond
	for i := range 1000 {
		take(t, l, wrap-time.Hour, fmt.Sprint("before", i), 1)
	}
	granted := 0
	for i := range 200 {
		if take(t, l, wrap+time.Hour, "abuser", 10).Allowed {
			granted++
		}
		take(t, l, wrap+time.Hour, fmt.Sprint("after", i), 1)
	}
	if granted != 1 {
		t.Errorf("the quota was granted %d times at one instant, want once", granted)
	}
}

// Keys of different periods could not be compared.
func TestSlidingWindowHasOnePeriod(t *testing.T) {
	t.Parallel()
	limit := PerMinute(10)
	o := &Options{Capacity: 8, Algorithm: SlidingWindow, LimitFor: func(string) (Limit, bool) { return limit, true }}
	l := newLimiter(t, PerMinute(5), o)
	if _, err := l.Take(t.Context(), "a", 10); err != nil {
		t.Fatal(err)
	}
	limit = PerDay(100)
	if _, err := l.Take(t.Context(), "a", 1); err == nil || !strings.Contains(err.Error(), "Limit.Period is 24h0m0s, want 1m0s") {
		t.Errorf("another period for a key: %v", err)
	}
	if err := l.SetLimit(PerHour(10)); err == nil || !strings.Contains(err.Error(), "Limit.Period is 1h0m0s, want 1m0s") {
		t.Errorf("another period for all: %v", err)
	}
	if _, err := New(Limit{}, o); err == nil || !strings.Contains(err.Error(), "Limit.Period is 0s") {
		t.Errorf("no period: %v", err)
	}
}
