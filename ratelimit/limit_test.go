package ratelimit

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// day is a period in which no test sees anything refill.
const day = 24 * time.Hour

// fastest is the highest rate that a limit can have, in events per second.
const fastest = ticksPerNano * int64(time.Second)

func TestZeroDeniesInfGrantsNaNIsRejected(t *testing.T) {
	t.Parallel()
	fromRate := func(r rate.Limit, burst int) Limit {
		limit, err := FromRate(r, burst)
		if err != nil {
			t.Fatal(err)
		}
		return limit
	}
	for _, tt := range []struct {
		name  string
		limit Limit
		want  bool
	}{
		{"the zero limit", Limit{}, false},
		{"PerSecond(0)", PerSecond(0), false},
		{"PerDay(0) with a burst", PerDay(0).WithBurst(10), false},
		{"x/time rate 0", fromRate(0, 10), false},
		{"x/time burst 0", fromRate(10, 0), false},
		{"Unlimited", Unlimited(), true},
		{"Unlimited with a burst", Unlimited().WithBurst(1), true},
		{"PerSecond(MaxInt64)", PerSecond(math.MaxInt64), true},
		{"x/time Inf", fromRate(rate.Inf, 0), true},
		{"x/time +Inf", fromRate(rate.Limit(math.Inf(1)), 1), true},
	} {
		l := newLimiter(t, tt.limit, nil)
		for _, n := range []int64{1, 1000, math.MaxInt64} {
			if got := l.AllowN("k", n); got != tt.want {
				t.Errorf("%s: AllowN(%d) = %v, want %v", tt.name, n, got, tt.want)
			}
			res, err := l.Take(t.Context(), "k", n)
			if err != nil || res.Allowed != tt.want {
				t.Errorf("%s: Take(%d) = %+v, %v, want allowed %v", tt.name, n, res, err, tt.want)
			}
			if never := res.RetryAfter < 0; never == tt.want {
				t.Errorf("%s: RetryAfter is %v", tt.name, res.RetryAfter)
			}
		}
		if keys := l.Stats().Keys; keys != 0 {
			t.Errorf("%s: %d keys in the table, want none", tt.name, keys)
		}
	}
	for _, r := range []rate.Limit{rate.Limit(math.NaN()), -1, rate.Limit(math.Inf(-1)), -math.SmallestNonzeroFloat64} {
		if limit, err := FromRate(r, 1); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: rate is ") {
			t.Errorf("FromRate(%v, 1) = %v, %v, want an error that names the rate", r, limit, err)
		}
	}
	if limit, err := FromRate(1, -1); err == nil || !strings.HasPrefix(err.Error(), "ratelimit: burst is -1") {
		t.Errorf("FromRate(1, -1) = %v, %v, want an error that names the burst", limit, err)
	}
}

func TestFromRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rate  rate.Limit
		burst int
		want  Limit
	}{
		{1, 1, Limit{1, time.Second, 1}},
		{100, 20, Limit{100, time.Second, 20}},
		{1e9, 1, Limit{1e9, time.Second, 1}},
		{rate.Limit(fastest), 5, Limit{fastest, time.Second, 5}},
		{0.1, 1, Limit{1, 10 * time.Second, 1}},
		{rate.Every(time.Hour), 3, Limit{1, time.Hour, 3}},
		{rate.Every(day), 3, Limit{1, day, 3}},
		{2.5, 7, Limit{1, 400 * time.Millisecond, 7}},
		{7.5, 7, Limit{3, 400 * time.Millisecond, 7}},
		{1.000000001, 1, Limit{1_000_000_001, 1e9 * time.Second, 1}},
	} {
		got, err := FromRate(tt.rate, tt.burst)
		if err != nil || got != tt.want {
			t.Errorf("FromRate(%v, %d) = %+v, %v, want %+v", float64(tt.rate), tt.burst, got, err, tt.want)
		}
	}
	// Too slow or too fast is refused, here or by Validate, and never something else.
	for _, r := range []rate.Limit{math.SmallestNonzeroFloat64, 1e-300, 1e-10, 1e-9, rate.Limit(fastest + 1), 1e18, 1e19, 1e300, math.MaxFloat64 / 2} {
		limit, err := FromRate(r, 1)
		if err == nil {
			err = limit.Validate()
		}
		if err == nil {
			t.Errorf("FromRate(%v, 1) = %v is valid", float64(r), limit)
		}
	}
}

func TestFromRateIsExactToOnePartInABillion(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	for range 20_000 {
		want := math.Exp(r.Float64()*(math.Log(10e9)-math.Log(1e-6)) + math.Log(1e-6))
		limit, err := FromRate(rate.Limit(want), 1)
		if err != nil {
			t.Fatalf("FromRate(%v): %v", want, err)
		}
		if err := limit.Validate(); err != nil {
			t.Fatalf("FromRate(%v) = %+v: %v", want, limit, err)
		}
		got := float64(limit.Events) / limit.Period.Seconds()
		if math.Abs(got-want) > 1.0001e-9*want {
			t.Fatalf("FromRate(%v) = %+v, which is %v", want, limit, got)
		}
	}
}

func TestLimiterOfXTimeRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit Limit
		rate  rate.Limit
		burst int
	}{
		{Limit{}, 0, 0},
		{Limit{Events: -1, Period: 1}, 0, 0},
		{Limit{Events: 1}, 0, 0},
		{Unlimited(), rate.Inf, 0},
		{PerSecond(100), 100, 100},
		{PerMinute(6).WithBurst(2), 0.1, 2},
		{PerDay(86400), 1, 86400},
	} {
		got := tt.limit.Limiter()
		if got.Limit() != tt.rate || got.Burst() != tt.burst {
			t.Errorf("%v: limit %v burst %d, want %v and %d", tt.limit, got.Limit(), got.Burst(), tt.rate, tt.burst)
		}
	}
	if (Limit{}).Limiter().Allow() || !Unlimited().Limiter().Allow() {
		t.Error("the zero Limit allows, or Unlimited does not")
	}
}

func TestLimitString(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit Limit
		want  string
	}{
		{Limit{}, "none"},
		{PerSecond(100), "100 per 1s, burst 100"},
		{PerMinute(5).WithBurst(2), "5 per 1m0s, burst 2"},
		{PerHour(1), "1 per 1h0m0s, burst 1"},
		{PerDay(7), "7 per 24h0m0s, burst 7"},
		{Unlimited(), "unlimited"},
	} {
		if got := tt.limit.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestValidateNamesEveryBadField(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit Limit
		want  string // empty means valid
	}{
		{Limit{}, ""},
		{Limit{Burst: 5}, ""},
		{Limit{Period: time.Second}, ""},
		{Unlimited(), ""},
		{PerDay(1), ""},
		{PerDay(1).WithBurst(730), ""},
		{Limit{Events: ticksPerNano, Period: 1, Burst: 1}, ""},
		{Limit{Events: math.MaxInt64 - 1, Period: math.MaxInt64, Burst: 1}, ""},
		{Limit{Events: -1, Period: -2, Burst: -3},
			"ratelimit: Limit.Events is -1, want >= 0\nratelimit: Limit.Burst is -3, want >= 0\nratelimit: Limit.Period is -2ns, want > 0"},
		{Limit{Events: 1}, "ratelimit: Limit.Period is 0s, want > 0"},
		{Limit{Period: -1}, "ratelimit: Limit.Period is -1ns, want > 0"},
		{Unlimited().WithBurst(-1), "ratelimit: Limit.Burst is -1, want >= 0"},
		{PerSecond(fastest), ""},
		{PerSecond(fastest + 1), "ratelimit: Limit.Events is 12000000001 per 1s, want at most 12e9 per second, or Unlimited"},
		{Limit{Events: 13, Period: 1}, "ratelimit: Limit.Events is 13 per 1ns, want at most 12e9 per second, or Unlimited"},
		{Limit{Events: math.MaxInt64 - 1, Period: 1}, "ratelimit: Limit.Events is 9223372036854775806 per 1ns, want at most 12e9 per second, or Unlimited"},
		{PerDay(1).WithBurst(731), "ratelimit: Limit.Burst is 731, which refills in 2 years, want at most 17520h0m0s"},
		{Limit{Events: 1, Period: math.MaxInt64}, "ratelimit: Limit.Burst is 1, which refills in 292 years, want at most 17520h0m0s"},
		{PerSecond(1).WithBurst(math.MaxInt64), "ratelimit: Limit.Burst is 9223372036854775807, which refills in 2.92e+11 years, want at most 17520h0m0s"},
		{Limit{Events: 1, Period: math.MaxInt64, Burst: math.MaxInt64}, "ratelimit: Limit.Burst is 9223372036854775807, which refills in 2.7e+21 years, want at most 17520h0m0s"},
	} {
		err := tt.limit.Validate()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v:\ngot  %s\nwant %s", tt.limit, got, tt.want)
		}
		if _, err := New(tt.limit, nil); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%+v: New: %v, want %s", tt.limit, err, tt.want)
		}
	}
}

// A quota in bytes has rates at which an interval in whole nanoseconds would be
// useless. The rate granted is exact if an event takes a whole number of ticks,
// and otherwise lower by less than the share that is documented; it is never
// higher.
func TestByteQuotasStayExact(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit Limit
		exact bool
	}{
		{PerSecond(1_000_000), true},
		{PerSecond(12_500_000), true},  // 100 Mbit/s
		{PerSecond(125_000_000), true}, // 1 Gbit/s
		{PerSecond(100_000_000), true},
		{PerSecond(800_000_000), true},
		{PerSecond(1_000_000_000), true},
		{PerSecond(fastest), true},
		{PerMinute(60_000_000_000), true},
		{PerDay(86_400_000_000), true},
		{Limit{Events: 3, Period: time.Microsecond, Burst: 1500}, true},
		{PerSecond(7), false},
		{PerSecond(104_857_600), false},                    // 100 MiB/s
		{PerSecond(700_000_000), false},                    //
		{PerSecond(1_250_000_000), false},                  // 10 Gbit/s
		{PerSecond(1 << 30).WithBurst(64 << 10), false},    // 1 GiB/s
		{PerDay(1 << 40), false},                           // 1 TiB a day
		{Limit{Events: 999_983, Period: 999_979e3}, false}, // primes
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, tt.limit, nil)
			r := seeded(t)
			// The bucket is never full for want of demand, and so no refill is lost.
			res, err := l.TakeUpTo(t.Context(), "k", math.MaxInt64)
			if err != nil || res.Granted != tt.limit.burst() {
				t.Fatalf("%v: at once %d, %v, want the burst", tt.limit, res.Granted, err)
			}
			var granted int64
			refill := float64(tt.limit.burst()) / float64(tt.limit.Events) * float64(tt.limit.Period)
			for range 2000 {
				time.Sleep(time.Duration(r.Float64() * refill / 2))
				res, err := l.TakeUpTo(t.Context(), "k", math.MaxInt64)
				if err != nil {
					t.Fatal(err)
				}
				granted += res.Granted
			}
			elapsed := big.NewInt(int64(time.Since(l.base)))
			asked := new(big.Int).Mul(elapsed, big.NewInt(tt.limit.Events))
			want := asked.Div(asked, big.NewInt(int64(tt.limit.Period))).Int64()
			least := want
			if !tt.exact {
				perTick := float64(tt.limit.Events) / tt.limit.Period.Seconds() / float64(fastest)
				if l.load().budget.den == 1 {
					least = int64(float64(want)*(1-perTick)) - 1
				} else { // each call rounds up by a tick at most
					least = want - int64(2001*perTick) - 1
				}
			}
			if granted < least || granted > want {
				t.Errorf("%v: %d granted in %v, want %d to %d", tt.limit, granted, time.Since(l.base), least, want)
			}
		})
	}
}

func FuzzLimitCompile(f *testing.F) {
	for _, limit := range []Limit{
		{}, PerSecond(1), PerSecond(7e8), PerDay(1).WithBurst(730), Unlimited(), {Events: ticksPerNano, Period: 1, Burst: 1},
		{Events: ticksPerNano + 1, Period: 1, Burst: 1}, {Events: 1, Period: math.MaxInt64, Burst: math.MaxInt64},
		{Events: math.MaxInt64 - 1, Period: math.MaxInt64, Burst: 1}, {Events: -1, Period: math.MinInt64, Burst: -1},
	} {
		f.Add(limit.Events, int64(limit.Period), limit.Burst)
	}
	f.Fuzz(func(t *testing.T, events, period, burst int64) {
		limit := Limit{Events: events, Period: time.Duration(period), Burst: burst}
		_, _ = limit.String(), limit.Limiter()
		b, err := limit.compile()
		if err != nil {
			if b != (budget{}) {
				t.Errorf("%+v: %+v with %v", limit, b, err)
			}
			return
		}
		switch {
		case events == math.MaxInt64:
			if !b.always() {
				t.Fatalf("%+v: %+v, want everything", limit, b)
			}
			return
		case events == 0:
			if b != (budget{}) {
				t.Fatalf("%+v: %+v, want nothing", limit, b)
			}
			return
		}
		if b.burst != limit.burst() || b.cost < 1 {
			t.Fatalf("%+v: %+v", limit, b)
		}
		// cost is the least whole number of ticks at which the rate granted is not
		// above the one asked for.
		ticks := new(big.Int).Mul(big.NewInt(period), big.NewInt(ticksPerNano))
		times := func(cost int64) *big.Int { return new(big.Int).Mul(big.NewInt(cost), big.NewInt(events)) }
		if times(b.cost).Cmp(ticks) < 0 || times(b.cost-1).Cmp(ticks) >= 0 {
			t.Fatalf("%+v: cost is %d ticks", limit, b.cost)
		}
		capacity := new(big.Int).Mul(big.NewInt(b.cost), big.NewInt(b.burst))
		if b.den != 1 { // exact: burst*ticks/events, rounded up
			if b.cost >= roughly || b.num != ticks.Uint64() || b.den != uint64(events) {
				t.Fatalf("%+v: %+v", limit, b)
			}
			capacity.Mul(ticks, big.NewInt(b.burst))
			capacity.Neg(capacity.Div(capacity.Neg(capacity), big.NewInt(events)))
		}
		if !capacity.IsInt64() || capacity.Int64() != b.capacity || b.capacity > int64(maxRefill)*ticksPerNano {
			t.Fatalf("%+v: capacity is %d ticks, want %v", limit, b.capacity, capacity)
		}
		if got := b.fit(0); got != b.burst {
			t.Fatalf("%+v: %d fit into a full bucket", limit, got)
		}
		if got := b.fit(b.capacity); got != 0 {
			t.Fatalf("%+v: %d fit into an empty bucket", limit, got)
		}
		l := newLimiter(t, limit, &Options{Capacity: 1})
		if res := take(t, l, 0, "k", b.burst); !res.Allowed || res.Remaining != 0 {
			t.Fatalf("%+v: the burst gives %+v", limit, res)
		}
		if res := take(t, l, 0, "k", 1); res.Allowed || res.RetryAfter != nanos(b.cost) {
			t.Fatalf("%+v: one more gives %+v, want to wait %v", limit, res, nanos(b.cost))
		}
	})
}
