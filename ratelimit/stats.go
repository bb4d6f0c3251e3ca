package ratelimit

import "github.com/uprung/uprung"

// Stats are counts since New and sizes at this moment.
type Stats struct {
	// Granted, Denied and ShadowDenied count decisions; those under a limit of
	// [Unlimited] or the mode Off are not counted. ShadowDenied ones were let
	// through.
	Granted, Denied, ShadowDenied uint64
	// Keyless counts requests that Middleware refused because they had no key.
	Keyless uint64
	// Failed counts decisions that could not be made: the cost was negative, or the
	// limit that LimitFor returned invalid.
	Failed uint64
	// Evicted counts keys that were forgotten, to make room, before they had their
	// whole burst back. If it grows, Capacity is too small.
	Evicted uint64
	// Keys is the number of keys in the table, including those that have their
	// whole burst back and give way to others.
	Keys int64
	// Capacity is the number of keys for which the table was made.
	Capacity int
}

// Stats returns a snapshot, whose figures may be a few decisions apart from one
// another.
func (l *Limiter) Stats() Stats {
	stats := Stats{Capacity: l.capacity, Keyless: l.refusedKeyless.Load(), Failed: l.failed.Load()}
	for i := range l.table.stripes {
		s := &l.table.stripes[i]
		stats.Granted += s.granted.Load()
		stats.Denied += s.denied.Load()
		stats.ShadowDenied += s.shadow.Load()
		stats.Evicted += s.evicted.Load()
		stats.Keys += s.keys.Load()
	}
	return stats
}

// Metrics yields the figures of Stats for an exporter. It makes a Limiter an
// [uprung.Source].
func (l *Limiter) Metrics(yield func(uprung.Metric) bool) {
	s := l.Stats()
	policy := uprung.Label{Name: "policy", Value: l.name}
	const decisions = "uprung_ratelimit_decisions_total"
	const decisionsHelp = "Decisions by outcome: allow, deny, shadow_deny (would have been denied), missing_key (refused for want of a key), error (the cost or the limit of the key is invalid)."
	outcome := func(name string, n uint64) uprung.Metric {
		return uprung.Metric{Name: decisions, Help: decisionsHelp, Type: uprung.Counter, Value: float64(n),
			Labels: []uprung.Label{policy, {Name: "outcome", Value: name}}}
	}
	only := []uprung.Label{policy}
	for _, m := range []uprung.Metric{
		outcome("allow", s.Granted),
		outcome("deny", s.Denied),
		outcome("shadow_deny", s.ShadowDenied),
		outcome("missing_key", s.Keyless),
		outcome("error", s.Failed),
		{Name: "uprung_ratelimit_evictions_total", Type: uprung.Counter, Labels: only, Value: float64(s.Evicted),
			Help: "Keys forgotten, to make room, before they had their whole burst back."},
		{Name: "uprung_ratelimit_keys", Type: uprung.Gauge, Labels: only, Value: float64(s.Keys),
			Help: "Keys in the table."},
		{Name: "uprung_ratelimit_capacity_keys", Type: uprung.Gauge, Labels: only, Value: float64(s.Capacity),
			Help: "Keys for which the table was made."},
	} {
		if !yield(m) {
			return
		}
	}
}
