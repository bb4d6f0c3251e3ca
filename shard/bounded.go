package shard

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// DefaultFactor is the factor of a [Bounded] by default: no node has more than a
// quarter above the average.
const DefaultFactor = 1.25

const (
	minFactor = 1.01 // below it, walks become as long as the table
	maxFactor = 1000
)

// BoundedOptions are the settings of a [Bounded]. The zero value of each field is
// its default.
type BoundedOptions struct {
	// Name is the name in metrics: 1 to 64 printable ASCII characters. Zero means
	// "default".
	Name string
	// Factor is how many times the average load, by weight, a node may have: 1.01 to
	// 1000. A smaller one balances better and keeps fewer keys at home. Zero means
	// [DefaultFactor].
	Factor float64
}

// A Bounded spreads loads, such as requests in progress, so that no node has many
// more than its share: consistent hashing with bounded loads (Mirrokni, Thorup and
// Zadimoghaddam, SODA 2018). A load goes to the first node, in the order of
// preference of its hash, that is not full.
//
// A node is full when it has ceil(Factor * n * w / W) loads, where n is the number
// of all loads including the new one, w the node's weight and W that of all nodes.
// That is at least 1, so that few loads may lie anywhere. The limits of all nodes
// together exceed the number of loads: it never happens that all are full, and no
// load is ever refused. A walk can still find each node full if others take while
// it looks; it then begins anew with the limits of that moment. Such a lap is
// another call's success, so that of all calls at one time some always end.
//
// When loads are released, others may for a while have more than the limit that
// would hold for a new one: nothing moves that has been placed.
//
// A Bounded is safe for concurrent use. Use [NewBounded].
type Bounded struct {
	name   string
	factor float64
	state  atomic.Pointer[bounds]
	total  atomic.Int64 // all loads; never less than the sum of those of nodes
	away   atomic.Uint64
	taken  atomic.Uint64
	walks  sync.Pool // of *search
}

// bounds is a table and the loads of its nodes.
type bounds struct {
	table Table
	share []float64 // of each node: Factor times its part of the weight
	loads []*load
}

// load counts the loads of one node. It has a cache line of its own.
type load struct {
	atomic.Int64
	_ [56]byte
}

// Lease is a load that was taken.
type Lease struct {
	bounded *Bounded
	bounds  *bounds
	node    int
}

// Node returns the node that has the load, or of the zero Lease the zero Node. What is
// reached there, [Map.Node] knows by its ID.
func (l Lease) Node() Node {
	if l.bounded == nil {
		return Node{}
	}
	return l.bounds.table.Nodes()[l.node]
}

// Index returns the index of the node in Nodes of the table that was in place when
// the load was taken. Do not take it as one into [Map.Entries]: by then the map may
// have others, and no index would be out of range.
func (l Lease) Index() int { return l.node }

// Release gives the place back. It must be called once: a second call would give
// back that of another load. Releasing the zero Lease does nothing.
func (l Lease) Release() {
	if l.bounded == nil {
		return
	}
	l.bounds.loads[l.node].Add(-1)
	l.bounded.total.Add(-1)
}

// NewBounded returns a Bounded without loads over a table. Nil options are the
// defaults. The error names every field that is out of range.
func NewBounded(table Table, o *BoundedOptions) (*Bounded, error) {
	if o == nil {
		o = &BoundedOptions{}
	}
	name, nameErr := checkName("BoundedOptions.Name", o.Name)
	var errs []error
	if o.Factor != 0 && !(o.Factor >= minFactor && o.Factor <= maxFactor) {
		errs = append(errs, fmt.Errorf("shard: BoundedOptions.Factor is %v, want %v to %v", o.Factor, minFactor, maxFactor))
	}
	errs = append(errs, nameErr, checkTable("table is", table))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	b := &Bounded{name: name, factor: cmp.Or(o.Factor, DefaultFactor)}
	b.walks.New = func() any { return newSearch() }
	b.state.Store(b.bounds(table, nil))
	return b, nil
}

// bounds prepares a table whose nodes keep the loads that they have under old.
func (b *Bounded) bounds(table Table, old *bounds) *bounds {
	nodes := table.Nodes()
	kept := make(map[string]*load)
	if old != nil {
		for i, n := range old.table.Nodes() {
			kept[n.ID] = old.loads[i]
		}
	}
	s := &bounds{table: table, share: make([]float64, len(nodes)), loads: make([]*load, len(nodes))}
	whole := 0.0
	for _, n := range nodes {
		whole += float64(n.Weight)
	}
	for i, n := range nodes {
		s.share[i] = b.factor * float64(n.Weight) / whole
		if s.loads[i] = kept[n.ID]; s.loads[i] == nil {
			s.loads[i] = new(load)
		}
	}
	return s
}

// SetTable puts another table in place of the one so far. Nodes that are in both,
// by their IDs, keep their loads. Those that are gone get no more; what they have
// counts towards the number of all loads until it is released, and a node that
// comes back begins without it. It returns an error if the table is nil, has no nodes
// or one without a weight, and changes nothing then. Calls that overlap take effect
// one after the other.
func (b *Bounded) SetTable(table Table) error {
	if err := checkTable("table is", table); err != nil {
		return err
	}
	for {
		old := b.state.Load()
		if b.state.CompareAndSwap(old, b.bounds(table, old)) {
			return nil
		}
	}
}

// Table returns the table.
func (b *Bounded) Table() Table { return b.state.Load().table }

// Acquire takes a place for one load, to be given back by [Lease.Release]. It does
// not block, and does not allocate if the table's Walk does not.
func (b *Bounded) Acquire(hash uint64) Lease {
	s := b.state.Load()
	node := s.table.Lookup(hash)
	total := b.total.Add(1) // before the node's, so that there is room somewhere
	if !s.take(node, total) {
		home := node
		if node = b.search(s, hash); node != home {
			b.away.Add(1)
		}
	}
	b.taken.Add(1)
	return Lease{bounded: b, bounds: s, node: node}
}

// search finds a node that is not full and takes the place. If the table panics,
// nothing remains of the load.
func (b *Bounded) search(s *bounds, hash uint64) (node int) {
	w := b.walks.Get().(*search)
	w.bounds, w.node = s, -1
	found := false
	defer func() {
		if !found {
			if w.node >= 0 {
				s.loads[w.node].Add(-1)
			}
			b.total.Add(-1)
		}
	}()
	for w.node < 0 {
		w.total = b.total.Load()
		s.table.Walk(hash, w.visit)
	}
	found, node = true, w.node
	w.bounds = nil // keep no table alive
	b.walks.Put(w)
	return node
}

// limit returns how many of all loads a node may have.
func (s *bounds) limit(node int, total int64) int64 {
	// A product that ought to be whole may be a little above.
	return int64(math.Ceil(s.share[node] * float64(total) * (1 - 1e-12)))
}

// take adds a load to a node unless it is full.
func (s *bounds) take(node int, total int64) bool {
	n := s.loads[node]
	limit := s.limit(node, total)
	for {
		have := n.Load()
		if have >= limit {
			return false
		}
		if n.CompareAndSwap(have, have+1) {
			return true
		}
	}
}

// search is a walk for a node that is not full. It is kept in a pool, with the
// function to yield to made once, so that walking does not allocate.
type search struct {
	visit  func(node int) bool
	bounds *bounds
	total  int64
	node   int // -1 until one is found
}

func newSearch() *search {
	w := &search{}
	w.visit = func(node int) bool {
		if !w.bounds.take(node, w.total) {
			return true
		}
		w.node = node
		return false
	}
	return w
}

// BoundedStats are the figures of a [Bounded].
type BoundedStats struct {
	// Acquired counts loads since NewBounded. Away counts those of them that did not
	// go to the first node of their preference, because it was full.
	Acquired, Away uint64
	// Loads is the number of loads at this moment, including those of nodes that
	// are gone.
	Loads int64
	// Nodes are the loads of each node, in the order of the table's Nodes.
	Nodes []int64
	// MaxOverAvg is the largest load of a node in proportion to its share by weight
	// of the loads of all nodes, or 0 if there are none.
	MaxOverAvg float64
}

// Stats returns a snapshot, whose figures may be a few loads apart from one
// another.
func (b *Bounded) Stats() BoundedStats {
	s := b.state.Load()
	stats := BoundedStats{
		Acquired: b.taken.Load(), Away: b.away.Load(), Loads: b.total.Load(), Nodes: make([]int64, len(s.loads)),
	}
	sum := int64(0)
	for i, n := range s.loads {
		stats.Nodes[i] = n.Load()
		sum += stats.Nodes[i]
	}
	for i, n := range stats.Nodes {
		if n > 0 {
			stats.MaxOverAvg = max(stats.MaxOverAvg, float64(n)*b.factor/(s.share[i]*float64(sum)))
		}
	}
	return stats
}
