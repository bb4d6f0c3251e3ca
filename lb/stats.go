package lb

import (
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/health"
)

// Stats are the figures of a [Balancer], since it was made.
type Stats struct {
	// Endpoints are those of now, sorted by ID.
	Endpoints []EndpointStats
	// Usable is how many of them can be picked. Panicking says that those are so few
	// that the others are picked from too.
	Usable    int
	Panicking bool
	// Rejected counts requests for which there was no endpoint.
	Rejected uint64
	// LeftZone counts requests that went to another zone though there is an endpoint
	// in the own.
	LeftZone uint64
	// Resolved and Unresolved count the calls of the resolver that brought endpoints,
	// and those that did not.
	Resolved, Unresolved uint64
	// Ejections count the times that an endpoint was taken out, or counted as if, by
	// reason: consecutive failures, a low success rate, slow responses.
	EjectedFailures, EjectedSuccessRate, EjectedSlow uint64
}

// EndpointStats are the figures of an endpoint, since it was there.
type EndpointStats struct {
	ID, Addr, Zone string
	Priority       int
	// Health is what probes say, [health.Unknown] without.
	Health health.State
	// Ejected is true while it is taken out, and EjectedFor how much longer.
	Ejected    bool
	EjectedFor time.Duration
	// Share is how far it has got in a slow start: from a tenth of its share of the
	// requests to all of it, which is 1.
	Share float64
	// InFlight is the number of requests in progress, including bodies that are
	// still being read and connections that were upgraded.
	InFlight int64
	// Picked counts requests sent to it, and the others those that have ended, by
	// outcome.
	Picked, Successes, Failures, Overloads, Ignored uint64
}

// Stats returns a snapshot.
func (b *Balancer) Stats() Stats {
	stats := Stats{
		Rejected: b.rejected.Load(), LeftZone: b.left.Load(),
		Resolved: b.resolved.Load(), Unresolved: b.unresolved.Load(),
		EjectedFailures:    b.ejected[consecutiveFailures].Load(),
		EjectedSuccessRate: b.ejected[lowSuccessRate].Load(),
		EjectedSlow:        b.ejected[slowResponses].Load(),
	}
	now := b.now()
	b.mu.Lock()
	defer b.unlock()
	s := b.state.Load()
	if s == nil {
		return stats
	}
	if b.due(s, now) {
		b.redraw(now)
		s = b.state.Load()
	}
	stats.Usable, stats.Panicking = s.usable, s.panicking
	for _, n := range s.nodes {
		e := EndpointStats{
			ID: n.ID, Addr: n.Addr, Zone: n.Zone, Priority: n.Priority, Share: 1,
			Ejected: n.outlier.ejected, InFlight: n.inFlight.Load(), Picked: n.picked.Load(),
			Successes: n.outcomes[uprung.Success].Load(), Failures: n.outcomes[uprung.Failure].Load(),
			Overloads: n.outcomes[uprung.Overload].Load(), Ignored: n.outcomes[uprung.Ignored].Load(),
		}
		if s.view != nil {
			e.Health = s.view.State(n.ID)
		}
		if e.Ejected {
			e.EjectedFor = max(0, n.outlier.until-now)
		}
		if b.o.SlowStart > 0 {
			e.Share = n.share(now, b.o.SlowStart)
		}
		stats.Endpoints = append(stats.Endpoints, e)
	}
	return stats
}

// Metrics yields the figures of the balancer, and of its probes. Endpoints are
// summed up: their names are the resolver's, not the programmer's.
func (b *Balancer) Metrics(yield func(uprung.Metric) bool) {
	s := b.Stats()
	var sum EndpointStats
	ejected := 0
	for _, e := range s.Endpoints {
		sum.InFlight += e.InFlight
		if e.Ejected {
			ejected++
		}
	}
	name := uprung.Label{Name: "balancer", Value: b.o.Name}
	metric := func(typ uprung.MetricType, name, help string, value float64, labels ...uprung.Label) uprung.Metric {
		return uprung.Metric{Name: name, Help: help, Type: typ, Labels: labels, Value: value}
	}
	label := func(name, value string) uprung.Label { return uprung.Label{Name: name, Value: value} }
	metrics := []uprung.Metric{
		metric(uprung.Gauge, "uprung_lb_endpoints", "Endpoints that were resolved.", float64(len(s.Endpoints)), name),
		metric(uprung.Gauge, "uprung_lb_usable_endpoints", "Endpoints that can be picked.", float64(s.Usable), name),
		metric(uprung.Gauge, "uprung_lb_ejected_endpoints", "Endpoints that are taken out for doing worse than others.", float64(ejected), name),
		metric(uprung.Gauge, "uprung_lb_inflight_requests", "Requests in progress.", float64(sum.InFlight), name),
		metric(uprung.Counter, "uprung_lb_rejected_total", "Requests for which there was no endpoint.", float64(s.Rejected), name),
		metric(uprung.Counter, "uprung_lb_left_zone_total", "Requests that went to another zone.", float64(s.LeftZone), name),
	}
	for outcome := range b.ended {
		metrics = append(metrics, metric(uprung.Counter, "uprung_lb_requests_total", "Requests that have ended, by outcome.",
			float64(b.ended[outcome].Load()), name, label("outcome", uprung.Outcome(outcome).String())))
	}
	for why := range b.ejected {
		metrics = append(metrics, metric(uprung.Counter, "uprung_lb_ejections_total", "Times that an endpoint was taken out, by reason.",
			float64(b.ejected[why].Load()), name, label("reason", ejection(why).String())))
	}
	for _, r := range []struct {
		result string
		count  uint64
	}{{"success", s.Resolved}, {"failure", s.Unresolved}} {
		metrics = append(metrics, metric(uprung.Counter, "uprung_lb_resolutions_total", "Calls of the resolver, by result.",
			float64(r.count), name, label("result", r.result)))
	}
	for _, m := range metrics {
		if !yield(m) {
			return
		}
	}
	if b.monitor != nil {
		b.monitor.Metrics(yield)
	}
}

// Layer describes the balancer and its effective settings.
func (b *Balancer) Layer() uprung.Layer {
	return uprung.Layer{Kind: uprung.KindBalance, Name: b.o.Name, Settings: b.settings}
}
