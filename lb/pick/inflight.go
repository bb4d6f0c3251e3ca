package pick

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// PowerOfTwo is the power of two choices (Mitzenmacher, IEEE Transactions on
// Parallel and Distributed Systems 12(10), 2001): of two different endpoints drawn
// at random, the one with fewer requests in progress in proportion to its weight.
// It is the cheapest policy that looks at load. It sees its own requests alone, so
// that with many clients it knows little, and it sends more to an endpoint that
// fails fast.
type PowerOfTwo struct{}

// LeastRequest picks the endpoint with the fewest requests in progress in
// proportion to its weight, of all: for few endpoints and long requests, such as
// connections that are upgraded. It compares all endpoints for each request. What
// is said at [PowerOfTwo] holds here too, and more so.
type LeastRequest struct{}

// Picker implements [Policy].
func (PowerOfTwo) Picker(endpoints []Endpoint, prev Picker) (Picker, error) {
	var known *pool[loadCell]
	if before, ok := prev.(*powerOfTwo); ok {
		known = &before.pool
	}
	l, err := newLoads(endpoints, known)
	if err != nil {
		return nil, err
	}
	return &powerOfTwo{l}, nil
}

// Picker implements [Policy].
func (LeastRequest) Picker(endpoints []Endpoint, prev Picker) (Picker, error) {
	var known *pool[loadCell]
	if before, ok := prev.(*leastRequest); ok {
		known = &before.pool
	}
	l, err := newLoads(endpoints, known)
	if err != nil {
		return nil, err
	}
	return &leastRequest{l}, nil
}

// loadCell is the number of requests in progress at an endpoint, on cache lines of
// its own.
type loadCell struct {
	_ [64]byte
	n atomic.Int64
	_ [56]byte
}

// loads counts requests in progress, until they are done.
type loads struct {
	pool  pool[loadCell]
	share []float64 // 1 / weight; nil if all have the same
}

func newLoads(endpoints []Endpoint, known *pool[loadCell]) (loads, error) {
	p, err := newPool(endpoints, known)
	l := loads{pool: p}
	if slices.ContainsFunc(endpoints, func(e Endpoint) bool { return max(e.Weight, 1) != max(endpoints[0].Weight, 1) }) {
		l.share = make([]float64, len(endpoints))
		for i, e := range endpoints {
			l.share[i] = 1 / float64(max(e.Weight, 1))
		}
	}
	return l, err
}

// load returns what one request more would make of an endpoint's load.
func (l *loads) load(i int32) float64 {
	n := float64(l.pool.cells[i].n.Load() + 1)
	if l.share != nil {
		n *= l.share[i]
	}
	return n
}

// Take implements [Picker].
func (l *loads) Take(endpoint int, now time.Duration) Token {
	l.pool.cells[endpoint].n.Add(1)
	return Token{Endpoint: endpoint, Start: now}
}

// Answered implements [Picker].
func (l *loads) Answered(t Token, _ time.Duration, _ uprung.Outcome) Token { return t }

// Done implements [Picker].
func (l *loads) Done(t Token, _ time.Duration, _ uprung.Outcome) {
	l.pool.cells[t.Endpoint].n.Add(-1)
}

type powerOfTwo struct{ loads }

// Pick implements [Picker].
func (p *powerOfTwo) Pick(r Request) (Token, bool) {
	up := p.pool.up
	if len(up) == 0 {
		return Token{}, false
	}
	best := up[0]
	if len(up) > 1 {
		a, b := pair(r.Random, len(up))
		best = up[a]
		if other := up[b]; p.load(other) < p.load(best) {
			best = other
		}
	}
	if r.Filter != nil && r.Filter.Refuses(int(best)) {
		if best = search(up, &r, p.load); best < 0 {
			return Token{}, false
		}
	}
	return p.Take(int(best), r.Now), true
}

type leastRequest struct{ loads }

// Pick implements [Picker].
func (p *leastRequest) Pick(r Request) (Token, bool) {
	up := p.pool.up
	if len(up) == 0 {
		return Token{}, false
	}
	best, lowest := int32(-1), math.Inf(1)
	start := below(r.Random, len(up))
	for i := range up {
		at := start + i
		if at >= len(up) {
			at -= len(up)
		}
		if endpoint := up[at]; r.Filter == nil || !r.Filter.Refuses(int(endpoint)) {
			if l := p.load(endpoint); l < lowest {
				best, lowest = endpoint, l
			}
		}
	}
	if best < 0 {
		return Token{}, false
	}
	return p.Take(int(best), r.Now), true
}
