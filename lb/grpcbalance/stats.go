package grpcbalance

import (
	"cmp"
	"slices"

	"github.com/uprung/uprung"
)

// Stats are the figures of a [Balancer], since it was made, over all connections that
// use it.
type Stats struct {
	// Channels is the number of connections (grpc.ClientConn) of now, without those
	// that are idle or closed.
	Channels int
	// Panicking is how many of them have so few usable endpoints that others are picked
	// from too.
	Panicking int
	// Endpoints are those of now, sorted by ID.
	Endpoints []EndpointStats
	// InFlight is the number of calls in progress, streams among them.
	InFlight int64
	// Rejected counts calls for which there was no endpoint among those that are
	// connected.
	Rejected uint64
	// Ejections counts the times that an endpoint was taken out, or counted as if.
	Ejections uint64
	// Calls that have ended, by outcome.
	Successes, Failures, Overloads, Ignored uint64
}

// EndpointStats are the figures of the endpoints of one ID, since they were there: one
// for each connection that has it.
type EndpointStats struct {
	// ID is the first address.
	ID string
	// Channels is the number of connections that have the endpoint, Ready in how many
	// of these it is connected, and Ejected in how many it is taken out.
	Channels, Ready, Ejected int
	// InFlight is the number of calls in progress, streams among them.
	InFlight int64
	// Picked counts calls sent to it, and the others those that have ended, by outcome.
	Picked, Successes, Failures, Overloads, Ignored uint64
}

// Stats returns a snapshot.
func (b *Balancer) Stats() Stats {
	stats := Stats{
		InFlight: b.inFlight.Load(), Rejected: b.rejected.Load(), Ejections: b.ejections.Load(),
		Successes: b.ended[uprung.Success].Load(), Failures: b.ended[uprung.Failure].Load(),
		Overloads: b.ended[uprung.Overload].Load(), Ignored: b.ended[uprung.Ignored].Load(),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	stats.Channels = len(b.channels)
	sums := map[string]*EndpointStats{}
	for c := range b.channels {
		if c.sum(sums) {
			stats.Panicking++
		}
	}
	for _, sum := range sums {
		stats.Endpoints = append(stats.Endpoints, *sum)
	}
	slices.SortFunc(stats.Endpoints, func(a, b EndpointStats) int { return cmp.Compare(a.ID, b.ID) })
	return stats
}

// sum adds the figures of a connection's endpoints, and reports whether it is panicking.
func (c *channel) sum(sums map[string]*EndpointStats) (panicking bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, now := c.state.Load(), c.now()
	for i := range s.members {
		n := s.members[i].node
		sum := sums[n.id]
		if sum == nil {
			sum = &EndpointStats{ID: n.id}
			sums[n.id] = sum
		}
		sum.Channels++
		if s.members[i].picker != nil {
			sum.Ready++
		}
		if n.ejected && now < n.until {
			sum.Ejected++
		}
		sum.InFlight += n.inFlight.Load()
		sum.Picked += n.picked.Load()
		sum.Successes += n.outcomes[uprung.Success].Load()
		sum.Failures += n.outcomes[uprung.Failure].Load()
		sum.Overloads += n.outcomes[uprung.Overload].Load()
		sum.Ignored += n.outcomes[uprung.Ignored].Load()
	}
	return s.panicking
}

var _ uprung.Source = (*Balancer)(nil)

// Metrics yields the figures of the balancer. Endpoints are summed up: their names are
// the resolver's, not the programmer's.
func (b *Balancer) Metrics(yield func(uprung.Metric) bool) {
	s := b.Stats()
	var all, ready, ejected int
	for _, e := range s.Endpoints {
		all, ready, ejected = all+e.Channels, ready+e.Ready, ejected+e.Ejected
	}
	name := uprung.Label{Name: "balancer", Value: b.name}
	metric := func(typ uprung.MetricType, name, help string, value float64, labels ...uprung.Label) uprung.Metric {
		return uprung.Metric{Name: name, Help: help, Type: typ, Labels: labels, Value: value}
	}
	metrics := []uprung.Metric{
		metric(uprung.Gauge, "uprung_grpcbalance_channels", "Client connections that are not idle.", float64(s.Channels), name),
		metric(uprung.Gauge, "uprung_grpcbalance_panicking_channels", "Client connections with too few usable endpoints.", float64(s.Panicking), name),
		metric(uprung.Gauge, "uprung_grpcbalance_endpoints", "Endpoints that were resolved, of all client connections.", float64(all), name),
		metric(uprung.Gauge, "uprung_grpcbalance_ready_endpoints", "Endpoints that are connected.", float64(ready), name),
		metric(uprung.Gauge, "uprung_grpcbalance_ejected_endpoints", "Endpoints that are taken out for failing.", float64(ejected), name),
		metric(uprung.Gauge, "uprung_grpcbalance_inflight_calls", "Calls in progress.", float64(s.InFlight), name),
		metric(uprung.Counter, "uprung_grpcbalance_rejected_total", "Calls for which there was no endpoint.", float64(s.Rejected), name),
		metric(uprung.Counter, "uprung_grpcbalance_ejections_total", "Times that an endpoint was taken out.", float64(s.Ejections), name),
	}
	for outcome := range b.ended {
		metrics = append(metrics, metric(uprung.Counter, "uprung_grpcbalance_calls_total", "Calls that have ended, by outcome.",
			float64(b.ended[outcome].Load()), name, uprung.Label{Name: "outcome", Value: uprung.Outcome(outcome).String()}))
	}
	for _, m := range metrics {
		if !yield(m) {
			return
		}
	}
}
