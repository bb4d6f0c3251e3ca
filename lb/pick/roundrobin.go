package pick

import (
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// RoundRobin picks one endpoint after the other, beginning at random. An endpoint
// of weight w has w turns in each round, spread evenly, in the order of nginx's
// smooth weighted round robin: with weights 5, 1 and 1 it is A A B A C A A. It is
// the right choice where endpoints are equal and so are requests, and only there.
type RoundRobin struct{}

// Picker implements [Policy].
func (RoundRobin) Picker(endpoints []Endpoint, prev Picker) (Picker, error) {
	pool, err := newPool[struct{}](endpoints, nil)
	if err != nil {
		return nil, err
	}
	p := &roundRobin{order: smooth(pool.up)}
	if before, ok := prev.(*roundRobin); ok {
		p.next.Store(before.next.Load())
	}
	return p, nil
}

// smooth spreads the turns of each endpoint evenly: each round, all gain their
// weight, and the one that has gained most pays for its turn with the sum of all.
func smooth(up []int32) []int32 {
	var endpoints []int32 // each once
	var weights []int
	for i, endpoint := range up {
		if i == 0 || endpoint != up[i-1] {
			endpoints, weights = append(endpoints, endpoint), append(weights, 0)
		}
		weights[len(weights)-1]++
	}
	if len(endpoints) == len(up) {
		return up
	}
	gained := make([]int, len(endpoints))
	order := make([]int32, 0, len(up))
	for range up {
		most := 0
		for i, w := range weights {
			gained[i] += w
			if gained[i] > gained[most] {
				most = i
			}
		}
		gained[most] -= len(up)
		order = append(order, endpoints[most])
	}
	return order
}

type roundRobin struct {
	order []int32
	_     [64]byte
	next  atomic.Uint64 // of order, or 0 before the first pick
	_     [56]byte
}

// Pick implements [Picker].
func (p *roundRobin) Pick(r Request) (Token, bool) {
	n := uint64(len(p.order))
	if n == 0 {
		return Token{}, false
	}
	turn := p.next.Add(1)
	if turn == 1 {
		turn = p.next.Add(r.Random % n)
	}
	for range n {
		endpoint := int(p.order[turn%n])
		if r.Filter == nil || !r.Filter.Refuses(endpoint) {
			return p.Take(endpoint, r.Now), true
		}
		turn = p.next.Add(1)
	}
	return Token{}, false
}

// Take implements [Picker].
func (p *roundRobin) Take(endpoint int, now time.Duration) Token {
	return Token{Endpoint: endpoint, Start: now}
}

// Answered implements [Picker].
func (p *roundRobin) Answered(t Token, _ time.Duration, _ uprung.Outcome) Token { return t }

// Done implements [Picker].
func (p *roundRobin) Done(Token, time.Duration, uprung.Outcome) {}
