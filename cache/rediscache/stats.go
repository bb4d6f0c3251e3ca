package rediscache

import (
	"sync/atomic"

	"github.com/uprung/uprung"
)

type counts struct {
	failures, changes, losses atomic.Uint64
}

// Stats are counts since New.
type Stats struct {
	// Failures counts calls without a usable answer, those included that were not made
	// because Redis was known to be down.
	Failures uint64
	// Changes counts keys of which the server told that others have changed them, and keys
	// of failed calls that listeners were told of for safety.
	Changes uint64
	// Losses counts how often everything was void, since a connection was lost or too many
	// calls had failed.
	Losses uint64
}

// Stats returns a snapshot.
func (s *Store) Stats() Stats {
	return Stats{
		Failures: s.counts.failures.Load(),
		Changes:  s.counts.changes.Load(),
		Losses:   s.counts.losses.Load(),
	}
}

// Metrics yields the figures of Stats for an exporter, and those of the breaker. It makes a
// Store an [uprung.Source].
func (s *Store) Metrics(yield func(uprung.Metric) bool) {
	stats := s.Stats()
	labels := []uprung.Label{{Name: "store", Value: s.name}}
	for _, m := range []uprung.Metric{
		{Name: "uprung_rediscache_failures_total", Help: "Calls of Redis without a usable answer, those included that were not made because it was known to be down.", Value: float64(stats.Failures)},
		{Name: "uprung_rediscache_changes_total", Help: "Keys that others have changed, as the server tells, and keys of failed calls.", Value: float64(stats.Changes)},
		{Name: "uprung_rediscache_losses_total", Help: "Times that everything held in memory was void, since a connection was lost or too many calls had failed.", Value: float64(stats.Losses)},
	} {
		m.Labels = labels
		if !yield(m) {
			return
		}
	}
	s.redis.Metrics(yield)
}
