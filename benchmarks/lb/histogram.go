package lb

import (
	"math"
	"time"
)

// step is how exact a quantile is.
const step = 10 * time.Microsecond

// histogram counts durations by steps.
type histogram struct {
	counts []uint32
	total  int
}

func newHistogram(most time.Duration) histogram {
	return histogram{counts: make([]uint32, most/step+1)}
}

// add counts a duration, which is not above the most.
func (h *histogram) add(d time.Duration) {
	h.counts[d/step]++
	h.total++
}

// quantile returns the middle of the step that a share q of all durations does not
// go beyond, in milliseconds.
func (h *histogram) quantile(q float64) float64 {
	rank, seen := int(math.Ceil(q*float64(h.total))), 0
	for i, n := range h.counts {
		if seen += int(n); seen >= rank && n > 0 {
			if i == len(h.counts)-1 {
				return float64(i) * float64(step) / float64(time.Millisecond) // the most
			}
			return (float64(i) + 0.5) * float64(step) / float64(time.Millisecond)
		}
	}
	return 0
}
