package replicate

import (
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// counts are counts since New.
type counts struct {
	reads           [reasons]atomic.Uint64
	refused         atomic.Uint64
	rerouted        atomic.Uint64
	retried         atomic.Uint64
	failovers       atomic.Uint64
	writesLost      atomic.Uint64
	tokensRefused   atomic.Uint64
	positionsMissed atomic.Uint64
	probesFailed    atomic.Uint64
}

// Stats are counts since New and what is known of the servers at this moment.
type Stats struct {
	// Reads counts reads, and read-only transactions, by why they ran where they did.
	Reads map[Reason]uint64
	// Refused counts reads that found no place at the primary.
	Refused uint64
	// Rerouted counts statements that a server refused because it does not write, and
	// that ran at the primary then.
	Rerouted uint64
	// Retried counts reads that were repeated elsewhere because a server was lost, or
	// gave them up.
	Retried uint64
	// Failovers counts changes of the primary.
	Failovers uint64
	// WritesLost counts bookmarks that asked for more than the primary has: what they
	// stand for was acknowledged, and lost in a failover or a crash.
	WritesLost uint64
	// TokensRefused counts tokens that were not valid.
	TokensRefused uint64
	// PositionsMissed counts writes under a bookmark whose position could not be asked
	// for: what follows reads at the primary for a while.
	PositionsMissed uint64
	// ProbesFailed counts probes that had no answer, or not one that the Dialect understands.
	ProbesFailed uint64
	// Nodes are the servers, in the order of New.
	Nodes []NodeStats
}

// NodeStats are the figures of one server.
type NodeStats struct {
	// Name is that of the Node.
	Name string
	// Role is what the server was at its last probe, or is taken for.
	Role Role
	// Up says that it has answered the last probe, and is not left behind by a failover.
	Up bool
	// Staleness is, of a replica, how old what it lacks may be at most: the time since
	// the primary was at a position that the replica has reached. Negative means that it
	// is not known.
	Staleness time.Duration
	// Reads and Writes count statements, and transactions.
	Reads, Writes uint64
	// Open and Idle count connections; Idle ones are among the Open.
	Open, Idle int
}

// Stats returns a snapshot, whose figures may be a few statements apart from one another.
func (c *Cluster) Stats() Stats {
	n := &c.counts
	s := Stats{
		Reads: map[Reason]uint64{}, Refused: n.refused.Load(), Rerouted: n.rerouted.Load(), Retried: n.retried.Load(),
		Failovers: n.failovers.Load(), WritesLost: n.writesLost.Load(), TokensRefused: n.tokensRefused.Load(),
		PositionsMissed: n.positionsMissed.Load(), ProbesFailed: n.probesFailed.Load(),
	}
	for i := range n.reads {
		if count := n.reads[i].Load(); count > 0 {
			s.Reads[Reason(i)] = count //nolint:gosec // there are few
		}
	}
	v, now := c.view.Load(), c.now()
	for i, node := range c.nodes {
		m := &v.members[i]
		one := NodeStats{
			Name: node.Name, Role: m.report.Role, Up: v.usable(i, now), Staleness: -1,
			Reads: node.reads.Load(), Writes: node.writes.Load(),
			Open: int(node.open.Load()), Idle: node.idleCount(),
		}
		switch {
		case i == v.primary:
			one.Role, one.Staleness = Primary, 0
		case m.certified > 0:
			one.Staleness = time.Duration(now - m.certified)
		}
		s.Nodes = append(s.Nodes, one)
	}
	return s
}

// Metrics yields the figures of Stats for an exporter. It makes a Cluster an
// [uprung.Source].
func (c *Cluster) Metrics(yield func(uprung.Metric) bool) {
	s := c.Stats()
	cluster := uprung.Label{Name: "cluster", Value: c.name}
	only := []uprung.Label{cluster}
	labels := func(name, value string) []uprung.Label { return []uprung.Label{cluster, {Name: name, Value: value}} }
	var all []uprung.Metric
	for i := range reasons {
		reason := Reason(i) //nolint:gosec // there are few
		all = append(all, uprung.Metric{Name: "uprung_replicate_reads_total", Type: uprung.Counter,
			Help:   "Reads and read-only transactions by why they ran where they did: replica, after_wait and stale at a replica, the others at the primary.",
			Labels: labels("reason", reason.String()), Value: float64(s.Reads[reason])})
	}
	counters := map[string]struct {
		help  string
		value uint64
	}{
		"refused_reads":    {"Reads that found no place at the primary.", s.Refused},
		"rerouted":         {"Statements that a server refused because it does not write, and that ran at the primary then.", s.Rerouted},
		"retries":          {"Reads that were repeated elsewhere.", s.Retried},
		"failovers":        {"Changes of the primary.", s.Failovers},
		"lost_writes":      {"Bookmarks that asked for more than the primary has.", s.WritesLost},
		"refused_tokens":   {"Tokens that were not valid.", s.TokensRefused},
		"missed_positions": {"Writes whose position could not be asked for.", s.PositionsMissed},
		"failed_probes":    {"Probes that failed.", s.ProbesFailed},
	}
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		counter := counters[name]
		all = append(all, uprung.Metric{Name: "uprung_replicate_" + name + "_total", Type: uprung.Counter, Help: counter.help, Labels: only, Value: float64(counter.value)})
	}
	for _, n := range s.Nodes {
		of := labels("node", n.Name)
		up, primary := 0.0, 0.0
		if n.Up {
			up = 1
		}
		if n.Role == Primary {
			primary = 1
		}
		kind := func(kind string) []uprung.Label {
			return []uprung.Label{cluster, {Name: "node", Value: n.Name}, {Name: "kind", Value: kind}}
		}
		all = append(all,
			uprung.Metric{Name: "uprung_replicate_node_up", Help: "Whether a server answers and is not left behind.", Type: uprung.Gauge, Labels: of, Value: up},
			uprung.Metric{Name: "uprung_replicate_node_primary", Help: "Whether a server is the primary.", Type: uprung.Gauge, Labels: of, Value: primary},
			uprung.Metric{Name: "uprung_replicate_node_staleness_seconds", Help: "How old what a replica lacks may be at most; -1 if not known.", Type: uprung.Gauge, Labels: of, Value: max(n.Staleness.Seconds(), -1)},
			uprung.Metric{Name: "uprung_replicate_node_statements_total", Help: "Statements and transactions by kind: read or write.", Type: uprung.Counter, Labels: kind("read"), Value: float64(n.Reads)},
			uprung.Metric{Name: "uprung_replicate_node_statements_total", Help: "Statements and transactions by kind: read or write.", Type: uprung.Counter, Labels: kind("write"), Value: float64(n.Writes)},
			uprung.Metric{Name: "uprung_replicate_node_connections", Help: "Open connections to a server.", Type: uprung.Gauge, Labels: of, Value: float64(n.Open)},
		)
	}
	for _, m := range all {
		if !yield(m) {
			return
		}
	}
}
