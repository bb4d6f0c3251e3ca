package chaos

import (
	"maps"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
)

var _ uprung.Source = (*Injector)(nil)

// counters are what is counted of a fault.
type counters struct{ spared, injected, shadow, capped atomic.Uint64 }

// Stats are the figures of an [Injector] since it was made.
type Stats struct {
	// Faults are those of all faults that there ever were, sorted by name.
	Faults []FaultStats
	// Active is the number of calls that are in the hands of the injector now.
	Active int64
	// Capped counts calls that were left alone because MaxActive others were not.
	Capped uint64
	// Armed is whether it is armed now.
	Armed bool
}

// FaultStats are the figures of one fault.
type FaultStats struct {
	// Name is that of the fault.
	Name string
	// Injected counts calls that have met it, Shadow those that would have but for the
	// mode, Capped those that would have but for MaxActive, and Spared those that matched
	// and were outside the share.
	Injected, Shadow, Capped, Spared uint64
}

// Stats returns a snapshot.
func (i *Injector) Stats() Stats {
	i.mu.Lock()
	known := maps.Clone(i.known)
	i.mu.Unlock()
	s := Stats{Active: i.active.Load(), Armed: i.armed.Load() != nil}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		c := known[name]
		f := FaultStats{Name: name, Injected: c.injected.Load(), Shadow: c.shadow.Load(), Capped: c.capped.Load(), Spared: c.spared.Load()}
		s.Faults = append(s.Faults, f)
		s.Capped += f.Capped
	}
	return s
}

// Metrics yields the figures of Stats for an exporter.
func (i *Injector) Metrics(yield func(uprung.Metric) bool) {
	s := i.Stats()
	metric := func(typ uprung.MetricType, metric, help string, value float64, labels ...uprung.Label) bool {
		return yield(uprung.Metric{Name: metric, Help: help, Type: typ, Value: value, Labels: append([]uprung.Label{{Name: "injector", Value: i.o.Name}}, labels...)})
	}
	armed := 0.0
	if s.Armed {
		armed = 1
	}
	if !metric(uprung.Gauge, "uprung_chaos_armed", "Whether faults are injected: 1 or 0.", armed) ||
		!metric(uprung.Gauge, "uprung_chaos_active_calls", "Calls in the hands of the injector.", float64(s.Active)) {
		return
	}
	const help = "Calls by fault and what came of it: injected, spared (matched, and outside the share), shadow and capped (would have been injected, but for the mode, or for the bound of active ones)."
	for _, f := range s.Faults {
		for _, one := range []struct {
			result string
			count  uint64
		}{{"injected", f.Injected}, {"shadow", f.Shadow}, {"capped", f.Capped}, {"spared", f.Spared}} {
			if !metric(uprung.Counter, "uprung_chaos_calls_total", help, float64(one.count),
				uprung.Label{Name: "fault", Value: f.Name}, uprung.Label{Name: "result", Value: one.result}) {
				return
			}
		}
	}
}

// Layer describes the injector and its effective settings.
func (i *Injector) Layer() uprung.Layer {
	mode := i.Mode()
	return uprung.Layer{Kind: uprung.KindChaos, Name: i.o.Name, Settings: []uprung.Setting{
		{Name: "Faults", Value: strconv.Itoa(len(i.set.Load().all))},
		{Name: "Armed", Value: strconv.FormatBool(i.armed.Load() != nil), Default: i.armed.Load() == nil},
		{Name: "Mode", Value: mode.String(), Default: mode == uprung.Enforce},
		{Name: "MaxActive", Value: strconv.Itoa(i.o.MaxActive), Default: i.given.MaxActive == 0},
		{Name: "MaxArmed", Value: i.o.MaxArmed.String(), Default: i.given.MaxArmed == 0},
		{Name: "Trust", Value: option.Function(i.o.Trust != nil, "nobody"), Default: i.o.Trust == nil},
		{Name: "Skip", Value: option.Function(i.o.Skip != nil, "none"), Default: i.o.Skip == nil},
	}}
}
