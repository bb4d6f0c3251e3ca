package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"time"

	"golang.org/x/time/rate"
)

// Limit is a number of events per period, with a burst: a token bucket of Burst
// tokens that fills at Events per Period. Over any stretch of time d, a key is
// granted at most Burst + Events*d/Period events.
//
// The zero Limit denies everything.
type Limit struct {
	// Events are granted per Period. Zero denies everything.
	Events int64
	// Period is the time in which Events are granted; it must be positive unless
	// Events is zero.
	Period time.Duration
	// Burst is how many events an idle key may have at once. Zero means Events.
	Burst int64
}

// PerSecond is a limit of n events per second with a burst of n.
func PerSecond(n int64) Limit { return Limit{Events: n, Period: time.Second} }

// PerMinute is a limit of n events per minute with a burst of n.
func PerMinute(n int64) Limit { return Limit{Events: n, Period: time.Minute} }

// PerHour is a limit of n events per hour with a burst of n. Since a bucket
// refills while it is used, the first hour can see nearly 2n; for a quota of n in
// any hour, use [SlidingWindow].
func PerHour(n int64) Limit { return Limit{Events: n, Period: time.Hour} }

// PerDay is a limit of n events per 24 hours with a burst of n; see [PerHour] for
// quotas.
func PerDay(n int64) Limit { return Limit{Events: n, Period: 24 * time.Hour} }

// Unlimited grants everything. Keys that are unlimited take no memory.
func Unlimited() Limit { return Limit{Events: math.MaxInt64, Period: 1} }

// FromRate converts a limit of golang.org/x/time/rate, in events per second,
// and its burst. [rate.Inf] becomes [Unlimited]; a rate or a burst of zero
// becomes the zero Limit. The conversion is exact to one part in 10^9. It
// returns an error if r is negative, NaN or less than one event in 292 years, or
// burst is negative.
func FromRate(r rate.Limit, burst int) (Limit, error) {
	switch {
	case math.IsNaN(float64(r)) || r < 0:
		return Limit{}, fmt.Errorf("ratelimit: rate is %v events per second, want >= 0", float64(r))
	case burst < 0:
		return Limit{}, fmt.Errorf("ratelimit: burst is %d, want >= 0", burst)
	case r == rate.Inf || math.IsInf(float64(r), 1):
		return Unlimited(), nil
	case r == 0 || burst == 0:
		return Limit{}, nil
	}
	limit := Limit{Events: 1, Period: time.Second, Burst: int64(burst)}
	switch whole := math.Round(float64(r)); {
	case r >= 1e9 || whole == float64(r) && whole >= 1:
		// Beyond 2^62, which no bucket keeps up with, Validate refuses what is left.
		limit.Events = int64(min(whole, 1<<62))
	case r >= 1:
		events, period := int64(math.Round(float64(r)*1e9)), int64(1e9*time.Second)
		common := gcd(events, period)
		limit.Events, limit.Period = events/common, time.Duration(period/common)
	default:
		period := float64(time.Second) / float64(r)
		if period >= math.MaxInt64 {
			return Limit{}, fmt.Errorf("ratelimit: rate is %v events per second, want 0 or at least one in %v", float64(r), maxRefill)
		}
		limit.Period = time.Duration(math.Round(period))
	}
	return limit, nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// WithBurst returns the limit with another burst: PerSecond(100).WithBurst(20).
func (l Limit) WithBurst(n int64) Limit {
	l.Burst = n
	return l
}

// Limiter returns a limiter of golang.org/x/time/rate with the same rate and
// burst. Where there is one bucket and no keys, and callers wait for their turn
// (a worker that paces itself), that package is the right tool and this method
// the bridge to it.
func (l Limit) Limiter() *rate.Limiter {
	switch {
	case l.unlimited():
		return rate.NewLimiter(rate.Inf, 0)
	case l.Events <= 0 || l.Period <= 0:
		return rate.NewLimiter(0, 0)
	}
	burst := min(l.burst(), math.MaxInt)
	return rate.NewLimiter(rate.Limit(float64(l.Events)*float64(time.Second)/float64(l.Period)), int(burst))
}

// String returns, for example, "100 per 1s, burst 20", "unlimited" or "none".
func (l Limit) String() string {
	switch {
	case l.unlimited():
		return "unlimited"
	case l.Events == 0:
		return "none"
	}
	return strconv.FormatInt(l.Events, 10) + " per " + l.Period.String() + ", burst " + strconv.FormatInt(l.burst(), 10)
}

// Validate returns an error that names every field that is out of range. A
// limit may not exceed 12e9 events per second, and its burst must refill within
// two years.
func (l Limit) Validate() error {
	_, err := l.compile()
	return prefixed(err)
}

// prefixed puts the name of the package before each error that err joins.
func prefixed(err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, one := range joined.Unwrap() {
			errs = append(errs, prefixed(one))
		}
		return errors.Join(errs...)
	}
	return fmt.Errorf("ratelimit: %w", err)
}

func (l Limit) unlimited() bool { return l.Events == math.MaxInt64 }

func (l Limit) burst() int64 {
	if l.Burst == 0 {
		return l.Events
	}
	return l.Burst
}

// A tick is the unit of time of the buckets: 1/12 ns. An event of a limit of
// 7 per second costs 12e9/7 ticks, rounded up. As long as that rounding changes
// the cost by less than one part in ten thousand, n events cost n times as much
// and a bucket holds that of its burst: whichever way the burst is taken, it is
// exact. At rates above a million per second, n events taken at once cost their
// exact share, rounded up to one tick for all of them together, so that quotas of
// bytes are exact too.
const (
	ticksPerNano = 12
	roughly      = 10_000 // ticks
)

// maxRefill bounds the time in which a bucket refills, and with it all sums of
// ticks: it is less than 2^60, and so is the longest wait; instants lie within
// ±2^61.
const maxRefill = 2 * 365 * 24 * time.Hour

// budget is a Limit in the form in which decisions use it. Its cost is zero if
// it grants nothing, and then so is its burst, or everything.
type budget struct {
	cost     int64  // ticks of one event
	capacity int64  // ticks of a full bucket
	burst    int64  // events
	num, den uint64 // the cost of one event exactly, as a fraction; den is 1 if it is cost
	window   int64  // ticks of the period of a sliding window; zero for a token bucket
}

// always reports whether the budget grants everything.
func (b *budget) always() bool { return b.cost == 0 && b.burst != 0 }

// budget validates the limit and prepares it for an algorithm.
func (l Limit) budget(a Algorithm) (budget, error) {
	b, err := l.compile()
	if err == nil && a == SlidingWindow {
		err = b.slide(l)
	}
	return b, err
}

// compile validates the limit and converts it to ticks.
func (l Limit) compile() (budget, error) {
	var errs []error
	if l.Events < 0 {
		errs = append(errs, fmt.Errorf("Limit.Events is %d, want >= 0", l.Events))
	}
	if l.Burst < 0 {
		errs = append(errs, fmt.Errorf("Limit.Burst is %d, want >= 0", l.Burst))
	}
	if l.Period < 0 || l.Period == 0 && l.Events > 0 {
		errs = append(errs, fmt.Errorf("Limit.Period is %v, want > 0", l.Period))
	}
	switch {
	case len(errs) > 0:
		return budget{}, errors.Join(errs...)
	case l.Events == 0:
		return budget{}, nil
	case l.unlimited():
		return budget{burst: math.MaxInt64}, nil
	}
	b := budget{burst: l.burst()}
	cost, fits := mulDivUp(uint64(l.Period), ticksPerNano, uint64(l.Events))
	if fits && cost == 1 && uint64(l.Period)*ticksPerNano < uint64(l.Events) {
		return budget{}, fmt.Errorf("Limit.Events is %d per %v, want at most 12e9 per second, or Unlimited", l.Events, l.Period)
	}
	b.num, b.den = cost, 1
	if hi, ticks := bits.Mul64(uint64(l.Period), ticksPerNano); cost < roughly && hi == 0 && ticks%uint64(l.Events) != 0 {
		b.num, b.den = ticks, uint64(l.Events)
	}
	capacity, bounded := mulDivUp(uint64(b.burst), b.num, b.den)
	if !fits || !bounded || capacity > uint64(maxRefill)*ticksPerNano {
		return budget{}, fmt.Errorf("Limit.Burst is %d, which refills in %s, want at most %v",
			b.burst, refillText(b.burst, l), maxRefill)
	}
	b.cost, b.capacity = int64(cost), int64(capacity)
	return b, nil
}

// mulDivUp returns a*b/c rounded up, and false if that exceeds 64 bits.
func mulDivUp(a, b, c uint64) (uint64, bool) {
	hi, lo := bits.Mul64(a, b)
	lo, carry := bits.Add64(lo, c-1, 0)
	hi += carry
	if hi >= c {
		return math.MaxUint64, false
	}
	quotient, _ := bits.Div64(hi, lo, c)
	return quotient, true
}

// costOf returns the ticks of n events, at most the burst.
func (b *budget) costOf(n int64) int64 {
	if b.den <= 1 {
		return n * b.cost
	}
	cost, _ := mulDivUp(uint64(n), b.num, b.den) // as much as the capacity at most
	return int64(cost)
}

// refillText says how long a burst that is too large would take to refill.
func refillText(burst int64, l Limit) string {
	years := float64(burst) * float64(l.Period) / float64(l.Events) / float64(365*24*time.Hour)
	return strconv.FormatFloat(years, 'g', 3, 64) + " years"
}

// worth returns the ticks that a refund of n events gives back, at most the
// burst: what costOf returns, but rounded down, so that refunds in parts do not
// exceed what was taken at once.
func (b *budget) worth(n int64) int64 {
	if b.den <= 1 {
		return n * b.cost
	}
	hi, lo := bits.Mul64(uint64(n), b.num)
	worth, _ := bits.Div64(hi, lo, b.den)
	return int64(worth)
}

// fit returns how many events a bucket with the given debt can still grant. The
// cost is not zero.
func (b *budget) fit(debt int64) int64 {
	return b.eventsIn(max(b.capacity-debt, 0))
}

// eventsIn returns how many whole events ticks pay for.
func (b *budget) eventsIn(ticks int64) int64 {
	if b.den == 1 {
		return ticks / b.cost
	}
	hi, lo := bits.Mul64(uint64(ticks), b.den)
	n, _ := bits.Div64(hi, lo, b.num) // one event has a cost of a tick at least
	return int64(n)
}

// idle returns a state that every key which is not full lies after.
func (b *budget) idle(now int64) int64 {
	if b.window == 0 {
		return now
	}
	window, _ := b.windowAt(now)
	return counts{window: (window - 1) & windowMask}.pack() - 1
}

// fresh returns the state of a key that has never been charged.
func (b *budget) fresh(now int64) int64 {
	if b.window == 0 {
		return now
	}
	return 0
}

// rescale converts a debt under the budget old to the debt of as many events
// under b, rounded up and at most a whole bucket's. A debt beyond the whole old
// bucket is promised to those who wait: the instant until which it leaves nothing
// to others stays. Neither cost is zero.
func (b *budget) rescale(debt int64, old *budget) int64 {
	if debt > old.capacity {
		return b.capacity + debt - old.capacity
	}
	if b.den == 1 && old.den == 1 {
		scaled, _ := mulDivUp(uint64(debt), b.num, old.num)
		return int64(min(scaled, uint64(b.capacity)))
	}
	scaled := new(big.Int).SetInt64(debt)
	for _, factor := range []uint64{b.num, old.den} {
		scaled.Mul(scaled, new(big.Int).SetUint64(factor))
	}
	divisor := new(big.Int).Mul(new(big.Int).SetUint64(b.den), new(big.Int).SetUint64(old.num))
	scaled.Add(scaled, divisor).Sub(scaled, big.NewInt(1)).Div(scaled, divisor) // round up
	if capacity := big.NewInt(b.capacity); scaled.Cmp(capacity) > 0 {
		return b.capacity
	}
	return scaled.Int64()
}

// nanos converts ticks to a duration, rounded up: a caller who waits that long
// is never a tick too early.
func nanos(ticks int64) time.Duration {
	return time.Duration((ticks + ticksPerNano - 1) / ticksPerNano)
}
