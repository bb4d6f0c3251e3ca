package retry

import (
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// window is how long response times are gathered before the older half is
	// forgotten.
	window = 5 * time.Second
	// enough is how many of them it takes for a quantile.
	enough = 20
	// calm is of how many answers at most one may say that there is too much to do, for
	// a quantile to be of use.
	calm = 100

	// Each power of two nanoseconds is divided in 8: a time is known to an eighth.
	parts     = 8
	partBits  = 3
	intervals = (64 - partBits + 1) * parts
)

// latency is a histogram of the response times of the last 5 to 10 seconds. It is
// safe for concurrent use.
type latency struct {
	current atomic.Uint64 // the number of the window that is being filled
	windows [2]histogram
}

type histogram struct {
	total     atomic.Uint64
	counts    [intervals]atomic.Uint32
	overloads atomic.Uint64 // which are not in total
}

// record notes a response time.
func (l *latency) record(now, took time.Duration) {
	h := l.at(now)
	h.total.Add(1)
	h.counts[interval(took)].Add(1)
}

// overload notes an answer that says that there is too much to do.
func (l *latency) overload(now time.Duration) { l.at(now).overloads.Add(1) }

// at returns the histogram of an instant, emptied if it has begun.
func (l *latency) at(now time.Duration) *histogram {
	number := uint64(now / window)
	for {
		current := l.current.Load()
		if number <= current {
			return &l.windows[current%2]
		}
		if l.current.CompareAndSwap(current, number) {
			// What is noted meanwhile may be lost, or counted in another window.
			l.windows[number%2].clear()
			if number > current+1 {
				l.windows[(number+1)%2].clear()
			}
		}
	}
}

func (h *histogram) clear() {
	h.total.Store(0)
	h.overloads.Store(0)
	for i := range h.counts {
		if h.counts[i].Load() != 0 {
			h.counts[i].Store(0)
		}
	}
}

// quantile returns the time that a part q of the answers did not exceed, and false if
// there are too few, or if there is an overload.
func (l *latency) quantile(now time.Duration, q float64) (time.Duration, bool) {
	l.at(now)
	total := l.windows[0].total.Load() + l.windows[1].total.Load()
	overloads := l.windows[0].overloads.Load() + l.windows[1].overloads.Load()
	if total < enough || overloads*calm > total+overloads {
		return 0, false
	}
	left := int64(float64(total)*(1-q)) + 1 // from above
	for i := intervals - 1; i >= 0; i-- {
		left -= int64(l.windows[0].counts[i].Load()) + int64(l.windows[1].counts[i].Load())
		if left <= 0 {
			return upper(i), true
		}
	}
	return 0, false
}

// interval returns the number of the interval that a time lies in.
func interval(took time.Duration) int {
	n := uint64(max(took, 0))
	if n < parts {
		return int(n)
	}
	shift := bits.Len64(n) - 1 - partBits
	return (shift+1)*parts + int(n>>shift) - parts
}

// upper returns the largest time of an interval.
func upper(i int) time.Duration {
	if i < parts {
		return time.Duration(i)
	}
	shift := i/parts - 1
	return time.Duration((uint64(i%parts+parts+1) << shift) - 1)
}
