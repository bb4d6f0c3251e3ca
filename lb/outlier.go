package lb

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// record is what the detection of outliers knows of an endpoint.
type record struct {
	row atomic.Int64 // failures since the last success

	// Of the interval that goes on.
	requests, failures atomic.Int64
	answers, took      atomic.Int64 // took in nanoseconds

	// Guarded by Balancer.mu.
	times   int           // of being ejected that are remembered
	ejected bool          // or counted as if, in shadow mode
	until   time.Duration // when ejected ends
}

// answered notes a response time.
func (r *record) answered(took time.Duration) {
	r.answers.Add(1)
	r.took.Add(int64(took))
}

// ended notes an outcome, and reports whether it was the last of so many failures in
// a row, or of as many again.
func (r *record) ended(outcome uprung.Outcome, consecutive int) (enough bool) {
	switch outcome {
	case uprung.Success:
		r.requests.Add(1)
		if r.row.Load() != 0 {
			r.row.Store(0)
		}
	case uprung.Failure:
		r.requests.Add(1)
		r.failures.Add(1)
		return consecutive > 0 && r.row.Add(1)%int64(consecutive) == 0
	}
	return false
}

// sample is what an endpoint has done in an interval.
type sample struct {
	requests, failures int64
	answers, took      int64
}

// take returns what was noted since the last call.
func (r *record) take() sample {
	return sample{
		requests: r.requests.Swap(0), failures: r.failures.Swap(0),
		answers: r.answers.Swap(0), took: r.took.Swap(0),
	}
}

// eject takes the endpoint out, longer each time.
func (r *record) eject(now, base time.Duration) {
	r.times = min(r.times+1, 10)
	r.ejected, r.until = true, now+base*time.Duration(r.times)
	r.row.Store(0)
}

// takeBack ends an ejection. Requests that were in progress when it began have nothing
// to say about what comes after it.
func (r *record) takeBack() {
	r.ejected = false
	r.row.Store(0)
}

// ejection says why an endpoint was ejected.
type ejection uint8

const (
	consecutiveFailures ejection = iota
	lowSuccessRate
	slowResponses
	ejections // their number
)

func (e ejection) String() string {
	return [...]string{"consecutive_failures", "success_rate", "response_time"}[e]
}

// deviant is an endpoint that did worse than the others.
type deviant struct {
	endpoint int
	why      ejection
}

// deviants compares what endpoints have done in an interval.
func (o *Outlier) deviants(samples []sample) []deviant {
	var all []deviant
	if o.Deviations > 0 {
		for _, i := range o.unreliable(samples) {
			all = append(all, deviant{i, lowSuccessRate})
		}
	}
	if o.Slower > 0 {
		for _, i := range o.slow(samples) {
			all = append(all, deviant{i, slowResponses})
		}
	}
	return all
}

// leastMargin is by how much a success rate must be below the mean. Without it, a
// single failure would be far from the mean of endpoints that have none: of n, sqrt(n-1)
// standard deviations.
const leastMargin = 0.05

// unreliable returns the endpoints whose success rate is too far below the mean.
func (o *Outlier) unreliable(samples []sample) []int {
	var rates []float64
	var of []int
	sum := 0.0
	for i, s := range samples {
		if s.requests >= int64(o.MinRequests) {
			rate := 1 - float64(s.failures)/float64(s.requests)
			rates, of = append(rates, rate), append(of, i)
			sum += rate
		}
	}
	if len(rates) < o.MinEndpoints {
		return nil
	}
	mean, variance := sum/float64(len(rates)), 0.0
	for _, rate := range rates {
		variance += (rate - mean) * (rate - mean) / float64(len(rates))
	}
	least := mean - o.Deviations*math.Sqrt(variance)
	var found []int
	for i, rate := range rates {
		if rate < least && rate <= mean-leastMargin {
			found = append(found, of[i])
		}
	}
	return found
}

// slow returns the endpoints whose mean response time is too far above the median.
func (o *Outlier) slow(samples []sample) []int {
	var means []float64
	var of []int
	for i, s := range samples {
		if s.answers >= int64(o.MinRequests) {
			means, of = append(means, float64(s.took)/float64(s.answers)), append(of, i)
		}
	}
	if len(means) < o.MinEndpoints {
		return nil
	}
	sorted := slices.Sorted(slices.Values(means))
	most := o.Slower * sorted[len(sorted)/2]
	var found []int
	for i, mean := range means {
		if mean > most {
			found = append(found, of[i])
		}
	}
	return found
}

// mostEjected returns how many of n endpoints can be out at a time.
func (o *Outlier) mostEjected(n int) int { return max(1, int(o.MaxEjected*float64(n))) }
