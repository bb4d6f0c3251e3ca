package redislimit

import (
	"math"
	"math/bits"
	"time"

	"github.com/uprung/uprung/ratelimit"
)

// A unit of time is 125 ns: at a million events per second, one event costs 8 units
// exactly.
const unit = 125 * time.Nanosecond

// forever is the cost of what is never granted: more than any bucket is deep.
const forever = 1 << 52

// budget is a limit in units.
type budget struct {
	limit  ratelimit.Limit
	burst  int64 // events
	depth  int64 // units of a full bucket
	one    int64 // units of one event
	always bool  // grants everything

	oneArg, depthArg string // of the script
}

// compile converts a limit. Its error is that of [ratelimit.Limit.Validate].
func compile(limit ratelimit.Limit) (budget, error) {
	if err := limit.Validate(); err != nil {
		return budget{}, err
	}
	b := budget{limit: limit, burst: limit.Burst}
	switch {
	case limit.Events == math.MaxInt64:
		b.burst, b.always = math.MaxInt64, true
	case limit.Events == 0:
		b.burst, b.one = 0, forever
	default:
		if b.burst == 0 {
			b.burst = limit.Events
		}
		b.one = b.units(1)
		b.depth = b.units(b.burst)
	}
	b.oneArg, b.depthArg = number(b.one), number(b.depth)
	return b, nil
}

// units returns the time in which so many events come, rounded up: Period/Events each.
func (b *budget) units(n int64) int64 {
	hi, lo := bits.Mul64(uint64(n), uint64(b.limit.Period))
	events := uint64(b.limit.Events)
	lo, carry := bits.Add64(lo, events-1, 0)
	if hi += carry; hi >= events {
		return forever
	}
	nanos, _ := bits.Div64(hi, lo, events) // rounded up twice is rounded up once
	return int64(min(nanos/uint64(unit)+min(nanos%uint64(unit), 1), forever))
}

// cost returns the units of n events.
func (b *budget) cost(n int64) int64 {
	switch {
	case n == 0 || b.always:
		return 0
	case n > b.burst:
		return forever
	case n == 1:
		return b.one
	}
	return b.units(n)
}

// fit returns how many events a bucket with a debt can still grant.
func (b *budget) fit(debt int64) int64 {
	if b.always {
		return b.burst
	}
	room := b.depth - min(debt, b.depth)
	if room == 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(room)*uint64(unit), uint64(b.limit.Events))
	if hi >= uint64(b.limit.Period) {
		return b.burst
	}
	n, _ := bits.Div64(hi, lo, uint64(b.limit.Period))
	return int64(min(n, uint64(b.burst)))
}

// wait returns the units after which so many fit into a bucket with a debt, or a
// negative number if they never do.
func (b *budget) wait(debt, cost int64) int64 {
	if cost > b.depth && !b.always {
		return -1
	}
	return max(min(debt, b.depth)+cost-b.depth, 0)
}

// result tells where a key stands that had a debt before n events were granted to it, at
// a cost, or denied.
func (b *budget) result(granted, n, debt, cost int64) ratelimit.Result {
	res := ratelimit.Result{Allowed: granted > 0 || n == 0, Granted: granted, Limit: b.burst}
	if res.Allowed {
		debt += cost
	} else {
		res.RetryAfter = -1
		if wait := b.wait(debt, cost); wait >= 0 {
			res.RetryAfter = time.Duration(wait) * unit
		}
	}
	res.Remaining = b.fit(debt)
	res.ResetAfter = time.Duration(min(debt, b.depth)) * unit
	return res
}

// share is the part of a limit that one of so many processes grants by itself.
func share(limit ratelimit.Limit, replicas int) ratelimit.Limit {
	if replicas <= 1 || limit.Events == 0 || limit.Events == math.MaxInt64 {
		return limit
	}
	n := int64(replicas)
	burst := limit.Burst
	if burst == 0 {
		burst = limit.Events
	}
	part := ratelimit.Limit{Events: limit.Events, Period: limit.Period * time.Duration(n), Burst: max(burst/n, 1)}
	if part.Period/time.Duration(n) != limit.Period || part.Validate() != nil {
		return ratelimit.Limit{} // so little that it is nothing
	}
	return part
}
