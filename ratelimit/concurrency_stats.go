package ratelimit

import (
	"time"

	"github.com/uprung/uprung"
)

// ConcurrencyStats are counts since NewConcurrency and figures of this moment.
type ConcurrencyStats struct {
	// Admitted counts requests that were given a place.
	Admitted uint64
	// Refused counts those that were not, for want of one, and Dropped those of them
	// that have waited for it in the queue. ShadowRefused were let through.
	Refused, Dropped, ShadowRefused uint64
	// Expired counts those whose deadline had passed, before they asked or in the queue.
	Expired uint64
	// Waited counts those that were given a place after they had waited for it, and
	// WaitedFor is the time that they have waited, taken together.
	Waited    uint64
	WaitedFor time.Duration
	// InFlight is how many are in progress, Waiting how many are in the queue, and
	// Streams how many have a place for streams.
	InFlight, Waiting, Streams int
	// Limit is the limit as it stands.
	Limit int
	// Base is the time that a request takes if none waits for another, as an adaptive
	// limit knows it, and Usual the time that they take now. Zero means not known.
	Base, Usual time.Duration
}

// Stats returns a snapshot, whose figures may be a few requests apart from one another.
func (c *Concurrency) Stats() ConcurrencyStats {
	c.mu.Lock()
	base, usual := time.Duration(c.gradient.base), time.Duration(c.gradient.usual)
	c.mu.Unlock()
	return ConcurrencyStats{
		Admitted:      c.admitted.Load(),
		Refused:       c.count.refused.Load(),
		Dropped:       c.count.dropped.Load(),
		ShadowRefused: c.count.shadow.Load(),
		Expired:       c.count.expired.Load(),
		Waited:        c.count.waited.Load(),
		WaitedFor:     time.Duration(c.count.wait.Load()),
		InFlight:      int(c.inFlight.Load()),
		Waiting:       int(c.waiting.Load()),
		Streams:       int(c.streams.Load()),
		Limit:         int(c.limit.Load()),
		Base:          base,
		Usual:         usual,
	}
}

// Metrics yields the figures of Stats for an exporter. It makes a Concurrency an
// [uprung.Source].
func (c *Concurrency) Metrics(yield func(uprung.Metric) bool) {
	s := c.Stats()
	policy := uprung.Label{Name: "policy", Value: c.name}
	const decisions = "uprung_ratelimit_concurrency_decisions_total"
	const decisionsHelp = "Requests by outcome: admit, refuse (no place at once), drop (none after waiting), shadow_refuse (would have been refused), expired (came too late)."
	outcome := func(name string, n uint64) uprung.Metric {
		return uprung.Metric{Name: decisions, Help: decisionsHelp, Type: uprung.Counter, Value: float64(n),
			Labels: []uprung.Label{policy, {Name: "outcome", Value: name}}}
	}
	only := []uprung.Label{policy}
	for _, m := range []uprung.Metric{
		outcome("admit", s.Admitted),
		outcome("refuse", s.Refused-min(s.Dropped, s.Refused)),
		outcome("drop", s.Dropped),
		outcome("shadow_refuse", s.ShadowRefused),
		outcome("expired", s.Expired),
		{Name: "uprung_ratelimit_concurrency_waits_total", Type: uprung.Counter, Labels: only, Value: float64(s.Waited),
			Help: "Requests that were given a place after waiting for it."},
		{Name: "uprung_ratelimit_concurrency_wait_seconds_total", Type: uprung.Counter, Labels: only, Value: s.WaitedFor.Seconds(),
			Help: "Time that those requests have waited, taken together."},
		{Name: "uprung_ratelimit_concurrency_in_flight", Type: uprung.Gauge, Labels: only, Value: float64(s.InFlight),
			Help: "Requests in progress."},
		{Name: "uprung_ratelimit_concurrency_waiting", Type: uprung.Gauge, Labels: only, Value: float64(s.Waiting),
			Help: "Requests in the queue."},
		{Name: "uprung_ratelimit_concurrency_streams", Type: uprung.Gauge, Labels: only, Value: float64(s.Streams),
			Help: "Responses that last, beside the limit."},
		{Name: "uprung_ratelimit_concurrency_limit", Type: uprung.Gauge, Labels: only, Value: float64(s.Limit),
			Help: "The limit of requests in progress."},
		{Name: "uprung_ratelimit_concurrency_base_seconds", Type: uprung.Gauge, Labels: only, Value: s.Base.Seconds(),
			Help: "Time that a request takes if none waits for another; zero if not known."},
		{Name: "uprung_ratelimit_concurrency_saturation_ratio", Type: uprung.Gauge, Labels: only, Value: c.Saturation(),
			Help: "Share of the limit in use; 1 while requests wait or are refused."},
	} {
		if !yield(m) {
			return
		}
	}
}
