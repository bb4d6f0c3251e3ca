package ladder

import (
	"context"
	"slices"
	"sync"
	"time"
)

// progressEvery is the time between two reports.
const progressEvery = 500 * time.Millisecond

// Progress is how a half stood in the time since the last report.
type Progress struct {
	// Rung is the one being measured.
	Rung *Rung
	// With is false in the half without the technique and true in the one with it.
	With bool
	// Settling says that the time was not, or not all of it, recorded.
	Settling bool
	// Elapsed is the time since the half began, and Length what it takes in all,
	// without the wait for the last answers.
	Elapsed, Length time.Duration
	// Offered, Served, Refused and Failed count the requests of all streams, per
	// second: those sent, and those that ended so.
	Offered, Served, Refused, Failed float64
	// P50 and P99 are the median and the 99th percentile of the latency of judged requests
	// that were served or failed; zero if there was none.
	P50, P99 time.Duration
	// InFlight is how many requests have been sent and not answered.
	InFlight int
}

// monitor counts requests for the reports. Its methods are safe for concurrent use.
type monitor struct {
	mu       sync.Mutex
	count    count // since the last report; guarded by mu
	inFlight int   // guarded by mu
}

type count struct {
	offered   int
	ended     [failed + 1]int // by result
	latencies []time.Duration // of judged requests that were not refused
}

func (m *monitor) offer() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count.offered++
	m.inFlight++
}

func (m *monitor) finish(outcome result, latency time.Duration, judged bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count.ended[outcome]++
	m.inFlight--
	if judged && outcome != refused {
		m.count.latencies = append(m.count.latencies, latency)
	}
}

// take returns the counts since it was last called, and what is in flight.
func (m *monitor) take() (c count, inFlight int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c = m.count
	m.count = count{}
	return c, m.inFlight
}

// run reports until ctx is done. The first argument holds what stays the same.
func (m *monitor) run(ctx context.Context, p Progress, settle time.Duration, report func(Progress)) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	start := time.Now()
	last := start
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		p.Elapsed = now.Sub(start)
		p.Settling = last.Sub(start) < settle
		seconds := now.Sub(last).Seconds()
		last = now
		if seconds <= 0 || p.Elapsed > p.Length {
			continue // only the last answers are waited for
		}
		var c count
		c, p.InFlight = m.take()
		slices.Sort(c.latencies)
		p.Offered = float64(c.offered) / seconds
		p.Served = float64(c.ended[served]) / seconds
		p.Refused = float64(c.ended[refused]) / seconds
		p.Failed = float64(c.ended[failed]) / seconds
		p.P50, _ = percentile(c.latencies, 50)
		p.P99, _ = percentile(c.latencies, 99)
		report(p)
	}
}
