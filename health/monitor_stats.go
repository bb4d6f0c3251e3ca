package health

import (
	"time"

	"github.com/uprung/uprung"
)

var (
	_ uprung.Source = (*Monitor)(nil)
	_ uprung.Source = (*Registry)(nil)
	_ uprung.Source = (*Scale)(nil)
)

// The results of probes.
const (
	succeeded = iota
	failed
	timedOut
	skipped // because an earlier one had not returned
	results
)

// counters are what a Monitor counts, guarded by its mu.
type counters struct {
	probes      [results]uint64
	transitions [states]uint64 // by the state that was entered
	reported    uint64
	probing     time.Duration
}

// MonitorStats are counts since NewMonitor and sizes at this moment.
type MonitorStats struct {
	// Unknown, Healthy and Unhealthy are the numbers of targets in each state.
	Unknown, Healthy, Unhealthy int
	// Succeeded, Failed and TimedOut count probes by their result. Skipped counts
	// those that were due while an earlier one of the target, past its timeout, had
	// not returned; they count as failures.
	Succeeded, Failed, TimedOut, Skipped uint64
	// ReportedFailures counts the failures that Report was told of, but for those of
	// Unhealthy targets.
	ReportedFailures uint64
	// Raised and Lowered count changes of a state to Healthy and to Unhealthy.
	Raised, Lowered uint64
	// ProbeTime is the time that all probes took together, each at most its timeout.
	ProbeTime time.Duration
}

// Stats returns a snapshot.
func (m *Monitor) Stats() MonitorStats {
	m.mu.Lock()
	c, counts := m.counters, m.view.Load().counts
	m.mu.Unlock()
	return MonitorStats{
		Unknown: counts[Unknown], Healthy: counts[Healthy], Unhealthy: counts[Unhealthy],
		Succeeded: c.probes[succeeded], Failed: c.probes[failed], TimedOut: c.probes[timedOut], Skipped: c.probes[skipped],
		ReportedFailures: c.reported,
		Raised:           c.transitions[Healthy], Lowered: c.transitions[Unhealthy],
		ProbeTime: c.probing,
	}
}

// Metrics yields the figures of Stats for an exporter: those of all targets
// together, whose IDs and addresses are in none. It makes a Monitor an
// [uprung.Source].
func (m *Monitor) Metrics(yield func(uprung.Metric) bool) {
	s := m.Stats()
	monitor := uprung.Label{Name: "monitor", Value: m.o.Name}
	by := func(name, help string, t uprung.MetricType, label, value string, n float64) uprung.Metric {
		return uprung.Metric{Name: name, Help: help, Type: t, Value: n,
			Labels: []uprung.Label{monitor, {Name: label, Value: value}}}
	}
	targets := func(state State, n int) uprung.Metric {
		return by("uprung_health_targets", "Targets by state: unknown (not probed yet), healthy, unhealthy.",
			uprung.Gauge, "state", state.String(), float64(n))
	}
	probes := func(result string, n uint64) uprung.Metric {
		return by("uprung_health_probes_total", "Probes by result: success, failure, timeout, skipped (an earlier one had not returned, counts as a failure).",
			uprung.Counter, "result", result, float64(n))
	}
	transitions := func(to State, n uint64) uprung.Metric {
		return by("uprung_health_transitions_total", "Changes of the state of a target, by the new state.",
			uprung.Counter, "to", to.String(), float64(n))
	}
	only := []uprung.Label{monitor}
	each([]uprung.Metric{
		targets(Unknown, s.Unknown), targets(Healthy, s.Healthy), targets(Unhealthy, s.Unhealthy),
		probes("success", s.Succeeded), probes("failure", s.Failed), probes("timeout", s.TimedOut), probes("skipped", s.Skipped),
		transitions(Healthy, s.Raised), transitions(Unhealthy, s.Lowered),
		{Name: "uprung_health_reported_failures_total", Type: uprung.Counter, Labels: only, Value: float64(s.ReportedFailures),
			Help: "Failures of requests to targets that were not unhealthy, as reported by callers."},
		{Name: "uprung_health_probe_duration_seconds_total", Type: uprung.Counter, Labels: only, Value: s.ProbeTime.Seconds(),
			Help: "Time that all probes took together."},
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
