package redislimit

import (
	"sync/atomic"

	"github.com/uprung/uprung"
)

// striped is a counter of which the processors share no line, as long as they count for
// different keys.
type striped [16]struct {
	atomic.Uint64
	_ [56]byte
}

func (s *striped) add(hash uint64) { s[hash>>60].Add(1) }

func (s *striped) sum() (n uint64) {
	for i := range s {
		n += s[i].Load()
	}
	return n
}

// counts are the counters of a limiter: each decision is counted by one.
type counts struct {
	granted, denied, shadow, leased, remembered striped
	asked, away, failed                         atomic.Uint64
}

// Stats are counts since New, of this process.
type Stats struct {
	// Granted, Denied and ShadowDenied count decisions; those under a limit of
	// [ratelimit.Unlimited] or the mode Off are not counted. ShadowDenied ones were let
	// through.
	Granted, Denied, ShadowDenied uint64
	// Leased and Remembered are those of them for which nobody was asked: granted from
	// what was bought ahead, and denied by what was known.
	Leased, Remembered uint64
	// Asked counts calls to Redis for decisions, those that failed included.
	Asked uint64
	// Away counts decisions without Redis, because it was down or did not answer in time.
	Away uint64
	// Keyless counts requests that Middleware refused because they had no key.
	Keyless uint64
	// Failed counts decisions that could not be made: the cost was negative, or the limit
	// that LimitFor returned invalid.
	Failed uint64
}

// Stats returns a snapshot, whose figures may be a few decisions apart from one another.
func (l *Limiter) Stats() Stats {
	c := &l.counts
	leased, remembered := c.leased.sum(), c.remembered.sum()
	return Stats{
		Granted: c.granted.sum() + leased, Denied: c.denied.sum() + remembered, ShadowDenied: c.shadow.sum(),
		Leased: leased, Remembered: remembered,
		Asked: c.asked.Load(), Away: c.away.Load(), Failed: c.failed.Load(), Keyless: l.face.Keyless(),
	}
}

// Metrics yields the figures of Stats for an exporter. It makes a Limiter an
// [uprung.Source]. Those of the breaker before Redis are the store's.
func (l *Limiter) Metrics(yield func(uprung.Metric) bool) {
	s := l.Stats()
	policy := uprung.Label{Name: "policy", Value: l.o.Name}
	only := []uprung.Label{policy}
	outcome := func(name string, n uint64) uprung.Metric {
		return uprung.Metric{Name: "uprung_ratelimit_decisions_total", Type: uprung.Counter, Value: float64(n),
			Help:   "Decisions by outcome: allow, deny, shadow_deny (would have been denied), missing_key (refused for want of a key), error (the cost or the limit of the key is invalid).",
			Labels: []uprung.Label{policy, {Name: "outcome", Value: name}}}
	}
	counter := func(name, help string, n uint64) uprung.Metric {
		return uprung.Metric{Name: "uprung_redislimit_" + name, Help: help, Type: uprung.Counter, Value: float64(n), Labels: only}
	}
	for _, m := range []uprung.Metric{
		outcome("allow", s.Granted),
		outcome("deny", s.Denied),
		outcome("shadow_deny", s.ShadowDenied),
		outcome("missing_key", s.Keyless),
		outcome("error", s.Failed),
		counter("leased_total", "Decisions granted from what was bought ahead.", s.Leased),
		counter("remembered_total", "Decisions denied by what was known, without asking.", s.Remembered),
		counter("calls_total", "Calls to Redis for decisions.", s.Asked),
		counter("away_total", "Decisions without Redis, because it could not be asked.", s.Away),
	} {
		if !yield(m) {
			return
		}
	}
}
