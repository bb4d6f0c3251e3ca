package ladder

import (
	"slices"
	"time"
)

// result is how a request ended.
type result uint8

const (
	served  result = iota // a success, in time
	refused               // 429 or 503
	failed                // any other answer, none in time, or never sent
)

// sample is what became of one request.
type sample struct {
	result  result
	latency time.Duration // from the scheduled instant; the rung's patience if it failed
	late    time.Duration // from the scheduled instant until it was sent
}

// Record is what the generator saw in the measured part of one half. Only Lateness
// is about all requests; the rest is about those of judged streams.
type Record struct {
	// Offered is the number of requests that were scheduled.
	Offered int
	// Served is the number of those answered with a status from 200 to 299, in time.
	Served int
	// Refused is the number of those answered 429 or 503.
	Refused int
	// Failed is the number of all others: answered with another status, not answered
	// within the rung's patience, or never sent because too many were in flight.
	Failed int
	// Lateness is how late the generator sent its requests: 99% of them were sent
	// within it of their scheduled instant. Latencies include it.
	Lateness time.Duration
	// Figures are those of the handler, if it has any.
	Figures map[string]float64

	latencies [parts][]time.Duration // of those served or failed, in order
	patience  time.Duration          // the latency of a part without any
}

// parts is how many parts of equal length the measured time has. Latencies are
// the median of theirs: a machine that stalls for a moment spoils one part, which
// is not about the technique.
const parts = 5

// newRecord sums up the samples of a schedule of this length, but for the time in
// which the rung settles.
func newRecord(rung *Rung, arrivals []arrival, samples []sample, length time.Duration) *Record {
	r := &Record{patience: rung.patience()}
	var lateness []time.Duration
	for i, a := range arrivals {
		if a.at < rung.Settle {
			continue
		}
		s := samples[i]
		lateness = append(lateness, s.late)
		if !rung.Streams[a.stream].Judged {
			continue
		}
		r.Offered++
		switch s.result {
		case served:
			r.Served++
		case refused:
			r.Refused++
			continue
		case failed:
			r.Failed++
		}
		part := &r.latencies[int64(a.at-rung.Settle)*parts/int64(length-rung.Settle)]
		*part = append(*part, s.latency)
	}
	for _, part := range r.latencies {
		slices.Sort(part)
	}
	slices.Sort(lateness)
	r.Lateness, _ = percentile(lateness, 99)
	return r
}

// Latency returns the latency, from the scheduled instant, within which percent of
// the requests were served, from 1 to 100: the median of that of five parts of the
// measured time, so that one hiccup of the machine does not decide. A request that
// failed counts as one that took as long as the patience of the rung. One that was
// refused does not count, since quick refusals would flatter; [Record.Goodput]
// accounts for it. A part in which every request was refused has that latency too.
func (r *Record) Latency(percent int) time.Duration {
	var of [parts]time.Duration
	for i, part := range r.latencies {
		var ok bool
		if of[i], ok = percentile(part, percent); !ok {
			of[i] = r.patience
		}
	}
	slices.Sort(of[:])
	return of[parts/2]
}

// Goodput returns the share of the offered requests that were served in time, from
// 0 to 1. Of nothing offered, nothing was served.
func (r *Record) Goodput() float64 {
	return float64(r.Served) / float64(max(r.Offered, 1))
}

// percentile returns the smallest value that percent of the sorted values do not
// exceed (the nearest rank), and false if there are none.
func percentile(sorted []time.Duration, percent int) (time.Duration, bool) {
	if len(sorted) == 0 {
		return 0, false
	}
	rank := (len(sorted)*percent + 99) / 100
	return sorted[max(rank, 1)-1], true
}
