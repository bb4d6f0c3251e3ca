package pick

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// Table maps hashes to endpoints, by their index in the order of their IDs. The
// tables of package shard are ones.
type Table interface {
	// Lookup returns the endpoint of a hash.
	Lookup(hash uint64) int
	// Walk calls yield with every endpoint once, in the order of preference for this
	// hash, until yield returns false. The first is Lookup's.
	Walk(hash uint64, yield func(endpoint int) bool)
}

// Hashed picks the endpoint to which the key of a request belongs, by
// [Request].Hash, so that requests with one key meet in one place. When that is down
// or refused, it is the next in the order of preference of that key: no other key
// moves.
type Hashed struct {
	// Table makes the table for endpoints, which are sorted by ID and include those
	// that are down. It goes by their IDs and weights alone, and is not called as long
	// as these stay as they are. It is required. For a consistent-hash ring:
	//
	//	func(endpoints []pick.Endpoint) (pick.Table, error) {
	//		nodes := make([]shard.Node, len(endpoints))
	//		for i, e := range endpoints {
	//			nodes[i] = shard.Node{ID: e.ID, Weight: e.Weight}
	//		}
	//		return shard.NewRing(nodes, nil)
	//	}
	Table func(endpoints []Endpoint) (Table, error)

	// Bound is the most that an endpoint has of the requests in progress, relative to
	// the average, in proportion to its weight: those above it go on in the order of
	// preference of their key (Mirrokni, Thorup and Zadimoghaddam, SODA 2018; 1.25 is
	// usual). It is above 1, or zero, which means that there is no bound.
	Bound float64
}

// Picker implements [Policy].
func (h Hashed) Picker(endpoints []Endpoint, prev Picker) (Picker, error) {
	var known *hashed
	var cells *pool[loadCell]
	if before, ok := prev.(*hashed); ok {
		known, cells = before, &before.pool
	}
	pool, err := newPool(endpoints, cells)
	if h.Table == nil {
		err = errors.Join(err, errors.New("pick: Hashed.Table is nil, want a function that makes a table"))
	}
	if h.Bound != 0 && !(h.Bound > 1 && h.Bound <= math.MaxInt32) {
		err = errors.Join(err, fmt.Errorf("pick: Hashed.Bound is %v, want more than 1, or 0 for none", h.Bound))
	}
	if err != nil {
		return nil, err
	}
	p := &hashed{pool: pool, total: new(atomic.Int64), down: make([]bool, len(endpoints))}
	if known != nil {
		p.total = known.total
	}
	p.nodes = make([]Endpoint, len(endpoints))
	for i, e := range endpoints {
		p.nodes[i] = Endpoint{ID: e.ID, Weight: e.Weight}
	}
	slices.SortFunc(p.nodes, func(a, b Endpoint) int { return cmp.Compare(a.ID, b.ID) })
	index := make(map[string]int, len(endpoints))
	weights := 0.0
	for i, e := range endpoints {
		index[e.ID], p.down[i] = i, e.Down
		if !e.Down {
			weights += float64(max(e.Weight, 1))
		}
	}
	for _, e := range p.nodes {
		p.endpoints = append(p.endpoints, int32(index[e.ID]))
	}
	if h.Bound > 0 {
		p.share = make([]float64, len(endpoints))
		for i, e := range endpoints {
			p.share[i] = h.Bound * float64(max(e.Weight, 1)) / weights
		}
	}
	switch {
	case len(endpoints) == 0:
	case known != nil && slices.Equal(known.nodes, p.nodes):
		p.table = known.table
	default:
		if p.table, err = h.Table(slices.Clone(p.nodes)); err != nil {
			return nil, fmt.Errorf("pick: Hashed.Table: %w", err)
		}
	}
	return p, nil
}

type hashed struct {
	pool      pool[loadCell]
	nodes     []Endpoint // what the table was made of
	table     Table
	endpoints []int32   // by index of the table
	down      []bool    // by endpoint
	share     []float64 // by endpoint, of all requests in progress; nil if not bounded
	total     *atomic.Int64
}

// Pick implements [Picker].
func (p *hashed) Pick(r Request) (Token, bool) {
	if len(p.pool.up) == 0 {
		return Token{}, false
	}
	best := int(p.endpoints[p.table.Lookup(r.Hash)])
	if !p.open(best, &r) || p.full(best) {
		if best = p.next(r); best < 0 {
			return Token{}, false
		}
	}
	return p.Take(best, r.Now), true
}

// open reports whether an endpoint can be picked.
func (p *hashed) open(i int, r *Request) bool {
	return !p.down[i] && (r.Filter == nil || !r.Filter.Refuses(i))
}

// full reports whether an endpoint is at its bound.
func (p *hashed) full(i int) bool {
	return p.share != nil && float64(p.pool.cells[i].n.Load()) >= math.Ceil(p.share[i]*float64(p.total.Load()+1))
}

// next returns the first endpoint in the order of preference that is open and not
// full, or else the first that is open, or -1.
func (p *hashed) next(r Request) int {
	first, best := -1, -1
	p.table.Walk(r.Hash, func(node int) bool {
		if i := int(p.endpoints[node]); p.open(i, &r) {
			if first < 0 {
				first = i
			}
			if !p.full(i) {
				best = i
			}
		}
		return best < 0
	})
	if best < 0 {
		return first
	}
	return best
}

// Take implements [Picker].
func (p *hashed) Take(endpoint int, now time.Duration) Token {
	if p.share != nil {
		p.total.Add(1)
		p.pool.cells[endpoint].n.Add(1)
	}
	return Token{Endpoint: endpoint, Start: now}
}

// Answered implements [Picker].
func (p *hashed) Answered(t Token, _ time.Duration, _ uprung.Outcome) Token { return t }

// Done implements [Picker].
func (p *hashed) Done(t Token, _ time.Duration, _ uprung.Outcome) {
	if p.share != nil {
		p.pool.cells[t.Endpoint].n.Add(-1)
		p.total.Add(-1)
	}
}
