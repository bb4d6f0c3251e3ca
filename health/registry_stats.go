package health

import "github.com/uprung/uprung"

// Metrics yields the figures of Stats for an exporter. It runs no check. It makes a
// Registry an [uprung.Source].
func (r *Registry) Metrics(yield func(uprung.Metric) bool) {
	s := r.Stats()
	registry := uprung.Label{Name: "registry", Value: r.o.Name}
	metrics := []uprung.Metric{{
		Name: "uprung_health_draining", Type: uprung.Gauge, Labels: []uprung.Label{registry}, Value: oneIf(s.Draining),
		Help: "1 once a drain has begun, else 0.",
	}}
	for _, c := range s.Checks {
		check := uprung.Label{Name: "check", Value: c.Name}
		for _, state := range []State{Unknown, Healthy, Unhealthy} {
			metrics = append(metrics, uprung.Metric{
				Name: "uprung_health_check_state", Type: uprung.Gauge, Value: oneIf(c.State == state),
				Help:   "1 for the state of the check by its last result, 0 for the others: unknown (not run yet), healthy, unhealthy.",
				Labels: []uprung.Label{registry, check, {Name: "state", Value: state.String()}},
			})
		}
		runs := func(result string, n uint64) uprung.Metric {
			return uprung.Metric{
				Name: "uprung_health_check_runs_total", Type: uprung.Counter, Value: float64(n),
				Help:   "Runs of the check by result: success, failure.",
				Labels: []uprung.Label{registry, check, {Name: "result", Value: result}},
			}
		}
		metrics = append(metrics, runs("success", c.Passed), runs("failure", c.Failed), uprung.Metric{
			Name: "uprung_health_check_duration_seconds_total", Type: uprung.Counter, Value: c.Time.Seconds(),
			Help:   "Time that all runs of the check took together.",
			Labels: []uprung.Label{registry, check},
		})
	}
	each(metrics, yield)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
