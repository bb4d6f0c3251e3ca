package ratelimit

import (
	"fmt"
	"math/bits"
	"strconv"
)

// Algorithm is how a limit is counted.
type Algorithm uint8

const (
	// TokenBucket grants up to Burst events at once and refills evenly: events are
	// spaced as the rate says once the burst is spent. A stretch as long as the
	// period can hold the burst and what was refilled meanwhile. The default.
	TokenBucket Algorithm = iota
	// SlidingWindow grants about Events in any stretch as long as the period, for
	// quotas such as 1000 an hour. It counts in windows that begin with New, and
	// weighs the window before by the share of it that the stretch still covers, as
	// if its events had been spread evenly. A client who saves them all for the end
	// of a window can so get up to twice the quota in a stretch that spans two, and
	// never more than the quota in one. Burst must be zero or Events, and Events at
	// most 262,143; all keys have the same Period.
	SlidingWindow
)

// String returns "token bucket" or "sliding window".
func (a Algorithm) String() string {
	switch a {
	case TokenBucket:
		return "token bucket"
	case SlidingWindow:
		return "sliding window"
	}
	return "Algorithm(" + strconv.Itoa(int(a)) + ")"
}

// The state of a key under SlidingWindow is one number: the window of its last
// event, modulo 2^27, and 18 bits each for the events of the window before and of
// that one. Older states are smaller, which is what the table evicts by.
const (
	countBits  = 18
	maxCount   = 1<<countBits - 1
	windowBits = 27
	windowMask = 1<<windowBits - 1
	// stepBack is how many windows a clock may step back and be recognized.
	stepBack = 1024
)

// counts are a state, unpacked.
type counts struct {
	window        int64 // modulo 2^27
	before, since int64 // events in the window before, and since the window began
}

func unpack(state int64) counts {
	return counts{
		window: state >> (2 * countBits) & windowMask,
		before: state >> countBits & maxCount,
		since:  state & maxCount,
	}
}

func (n counts) pack() int64 {
	return n.window<<(2*countBits) | n.before<<countBits | n.since
}

// windowAt returns the window of an instant, counted from New, and how far into
// it that is.
func (b *budget) windowAt(now int64) (window, phase int64) {
	now -= startOfTime
	window, phase = now/b.window, now%b.window
	if phase < 0 {
		window, phase = window-1, phase+b.window
	}
	return window & windowMask, phase
}

// countsAt returns the counts of a state as they are at an instant.
func (b *budget) countsAt(state, now int64) (n counts, phase int64) {
	n = unpack(state)
	window, phase := b.windowAt(now)
	switch passed := (window - n.window) & windowMask; {
	case passed == 0:
	case passed == 1:
		n = counts{window: window, before: n.since}
	case passed > windowMask-stepBack && n != (counts{}):
		phase = 0 // the clock has stepped back: the window has just begun
	default:
		n = counts{window: window}
	}
	return n, phase
}

// used returns the events that count at a phase of the window, rounded up.
func (b *budget) used(n counts, phase int64) int64 {
	hi, lo := bits.Mul64(uint64(n.before), uint64(b.window-phase))
	lo, carry := bits.Add64(lo, uint64(b.window)-1, 0)
	weighted, _ := bits.Div64(hi+carry, lo, uint64(b.window))
	return n.since + int64(weighted)
}

// phaseFor returns the first phase of a window at which no more than room of the
// events before it count.
func (b *budget) phaseFor(before, room int64) int64 {
	if before <= room {
		return 0
	}
	hi, lo := bits.Mul64(uint64(room), uint64(b.window))
	covered, _ := bits.Div64(hi, lo, uint64(before))
	return b.window - int64(covered)
}

// weighWindow is weigh for a sliding window: it returns the state after the
// decision.
func (c *call) weighWindow(state int64) int64 {
	b := &c.budget
	n, phase := b.countsAt(state, c.now)
	used := b.used(n, phase)
	take := int64(0)
	c.ok, c.wait = false, -1
	want := c.n
	if c.upTo {
		want = min(c.n, 1) // to be worth waiting for
	}
	switch fit := max(b.burst-used, 0); {
	case c.n <= fit:
		c.ok, c.wait, take = true, 0, c.n
	case c.upTo && fit > 0:
		c.ok, c.wait, take = true, 0, fit
	case want > b.burst:
	case n.since+want <= b.burst:
		c.wait = max(b.phaseFor(n.before, b.burst-n.since-want)-phase, 0)
	default:
		c.wait = b.window - phase + b.phaseFor(n.since, b.burst-want)
	}
	c.granted = take
	if c.dry {
		take = 0
	}
	n.since += take
	c.charge = take
	c.debt = used + take
	switch {
	case n.since > 0:
		c.reset = 2*b.window - phase
	case n.before > 0:
		c.reset = b.window - phase
	}
	if take == 0 {
		return state
	}
	return n.pack()
}

// refundWindow returns a state without n of its events, the latest first.
func (b *budget) refundWindow(state, now, n int64) int64 {
	counted, _ := b.countsAt(state, now)
	back := min(n, counted.since)
	counted.since -= back
	counted.before -= min(n-back, counted.before)
	return counted.pack()
}

// ungrant returns a state without n events that were granted at an instant, as
// far as they still count.
func (b *budget) ungrant(state, now, granted, n int64) int64 {
	counted, _ := b.countsAt(state, now)
	switch window, _ := b.windowAt(granted); (counted.window - window) & windowMask {
	case 0:
		counted.since -= min(n, counted.since)
	case 1:
		counted.before -= min(n, counted.before)
	}
	return counted.pack()
}

// rewindow converts a state under the budget old to one with as many events
// under b.
func (b *budget) rewindow(state, now int64, old *budget) int64 {
	n, phase := old.countsAt(state, now)
	if b.window != old.window {
		window, _ := b.windowAt(now)
		n = counts{window: window, since: min(old.used(n, phase), maxCount)}
	}
	return n.pack()
}

// slide turns a compiled limit into a sliding window.
func (b *budget) slide(l Limit) error {
	if b.cost == 0 {
		return nil // all or nothing
	}
	if b.burst != l.Events {
		return fmt.Errorf("Limit.Burst is %d, want 0 or Events with SlidingWindow", l.Burst)
	}
	if l.Events > maxCount {
		return fmt.Errorf("Limit.Events is %d, want at most %d with SlidingWindow", l.Events, maxCount)
	}
	b.window = int64(l.Period) * ticksPerNano
	return nil
}
