package shard

import "github.com/uprung/uprung"

var (
	_ uprung.Source = (*Map[int])(nil)
	_ uprung.Source = (*Bounded)(nil)
	_ uprung.Source = (*Handler)(nil)
	_ uprung.Source = (*Mover)(nil)
)

// Stats are the figures of a [Map] at this moment.
type Stats struct {
	// Nodes is the number of entries.
	Nodes int
	// Sets counts the changes of the entries since NewMap.
	Sets uint64
	// Hot are the figures of MapOptions.Hot, zero without it. They count for all maps
	// that share it.
	Hot HotStats
}

// Stats returns a snapshot, whose figures may be a few calls apart from one
// another.
func (m *Map[T]) Stats() Stats {
	stats := Stats{Nodes: len(m.current.Load().entries), Sets: m.sets.Load()}
	if m.hot != nil {
		stats.Hot = m.hot.Stats()
	}
	return stats
}

// Metrics yields the figures of Stats for an exporter: of the hottest keys their
// shares and nothing that tells which they are. It makes a Map an [uprung.Source].
func (m *Map[T]) Metrics(yield func(uprung.Metric) bool) {
	s := m.Stats()
	only := []uprung.Label{{Name: "map", Value: m.name}}
	metrics := []uprung.Metric{
		{Name: "uprung_shard_nodes", Type: uprung.Gauge, Labels: only, Value: float64(s.Nodes),
			Help: "Nodes in the map."},
		{Name: "uprung_shard_sets_total", Type: uprung.Counter, Labels: only, Value: float64(s.Sets),
			Help: "Changes of the entries of the map."},
	}
	if m.hot != nil {
		hottest, top := 0.0, 0.0
		for i, k := range s.Hot.Hottest {
			if i == 0 {
				hottest = k.Share
			}
			top += k.Share
		}
		metrics = append(metrics, []uprung.Metric{
			{Name: "uprung_shard_observed_keys_total", Type: uprung.Counter, Labels: only, Value: float64(s.Hot.Observed),
				Help: "Keys that were asked for, each time they were."},
			{Name: "uprung_shard_hottest_key_ratio", Type: uprung.Gauge, Labels: only, Value: hottest,
				Help: "Share of the hottest key of all recent ones."},
			{Name: "uprung_shard_hottest_keys_ratio", Type: uprung.Gauge, Labels: only, Value: top,
				Help: "Share of the ten hottest keys of all recent ones."},
			{Name: "uprung_shard_spread_keys", Type: uprung.Gauge, Labels: only, Value: float64(s.Hot.Spread),
				Help: "Keys that are hot enough to be spread over several nodes."},
		}...)
	}
	each(metrics, yield)
}

// Metrics yields the figures of Stats for an exporter, those of all nodes together.
// It makes a Bounded an [uprung.Source].
func (b *Bounded) Metrics(yield func(uprung.Metric) bool) {
	s := b.Stats()
	only := []uprung.Label{{Name: "bounded", Value: b.name}}
	each([]uprung.Metric{
		{Name: "uprung_shard_acquired_loads_total", Type: uprung.Counter, Labels: only, Value: float64(s.Acquired),
			Help: "Loads that were placed."},
		{Name: "uprung_shard_away_loads_total", Type: uprung.Counter, Labels: only, Value: float64(s.Away),
			Help: "Loads that were placed elsewhere because their first node was full."},
		{Name: "uprung_shard_loads", Type: uprung.Gauge, Labels: only, Value: float64(s.Loads),
			Help: "Loads at this moment."},
		{Name: "uprung_shard_max_over_avg_ratio", Type: uprung.Gauge, Labels: only, Value: s.MaxOverAvg,
			Help: "Largest load of a node in proportion to its share by weight."},
	}, yield)
}

// HandlerStats are counts of requests since NewHandler.
type HandlerStats struct {
	// Routed went to the upstream of their key, Fallback to HandlerOptions.Fallback.
	Routed, Fallback uint64
	// NoNodes were refused because there was no upstream, Keyless because they had no
	// key.
	NoNodes, Keyless uint64
}

// Stats returns a snapshot, whose figures may be a few requests apart from one
// another.
func (h *Handler) Stats() HandlerStats {
	return HandlerStats{
		Routed: h.routed.Load(), Fallback: h.fallback.Load(),
		NoNodes: h.refusedNoNodes.Load(), Keyless: h.refusedKeyless.Load(),
	}
}

// Metrics yields the figures of Stats for an exporter. Those of the map are its
// own. It makes a Handler an [uprung.Source].
func (h *Handler) Metrics(yield func(uprung.Metric) bool) {
	s := h.Stats()
	outcome := func(name string, n uint64) uprung.Metric {
		return uprung.Metric{
			Name: "uprung_shard_requests_total", Type: uprung.Counter, Value: float64(n),
			Help: "Requests by outcome: routed, fallback (skipped, or admitted without a key), no_nodes (refused, there was no upstream), missing_key (refused for want of a key).",
			Labels: []uprung.Label{
				{Name: "map", Value: h.upstreams.name}, {Name: "handler", Value: h.name}, {Name: "outcome", Value: name},
			},
		}
	}
	each([]uprung.Metric{
		outcome("routed", s.Routed), outcome("fallback", s.Fallback),
		outcome("no_nodes", s.NoNodes), outcome("missing_key", s.Keyless),
	}, yield)
}

// Metrics yields the figures of Progress for an exporter. It makes a Mover an
// [uprung.Source].
func (m *Mover) Metrics(yield func(uprung.Metric) bool) {
	p := m.Progress()
	only := []uprung.Label{{Name: "mover", Value: m.name}}
	paused := 0.0
	if p.Paused {
		paused = 1 // a Mover switches one at a time
	}
	each([]uprung.Metric{
		{Name: "uprung_shard_move_ranges", Type: uprung.Gauge, Labels: only, Value: float64(p.Ranges),
			Help: "Ranges of hashes that are to move."},
		{Name: "uprung_shard_switched_ranges", Type: uprung.Gauge, Labels: only, Value: float64(p.Switched),
			Help: "Ranges of hashes that are at their new home."},
		{Name: "uprung_shard_cleaned_ranges", Type: uprung.Gauge, Labels: only, Value: float64(p.Cleaned),
			Help: "Ranges of hashes that are deleted at their old home."},
		{Name: "uprung_shard_switched_hashes_ratio", Type: uprung.Gauge, Labels: only, Value: p.Share,
			Help: "Share of all hashes that is at its new home."},
		{Name: "uprung_shard_paused_ranges", Type: uprung.Gauge, Labels: only, Value: paused,
			Help: "Ranges of hashes to which writes are refused until the checkpoint is saved."},
		{Name: "uprung_shard_rollbacks_total", Type: uprung.Counter, Labels: only, Value: float64(p.Rollbacks),
			Help: "Write pauses after which a range stayed at its old home."},
		{Name: "uprung_shard_longest_pause_seconds", Type: uprung.Gauge, Labels: only, Value: p.LongestPause.Seconds(),
			Help: "Longest time for which writes to a range were paused."},
	}, yield)
}

// each yields metrics until yield has enough.
func each(metrics []uprung.Metric, yield func(uprung.Metric) bool) {
	for _, m := range metrics {
		if !yield(m) {
			return
		}
	}
}
