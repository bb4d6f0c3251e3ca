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

// turns is a set of endpoints of one weight. They have gained the same but for the turns
// that they had, so that they take those one after the other.
type turns struct {
	weight    int
	endpoints []int32
	had       int // all together
}

// first returns who is next among them, and what it has gained after a number of rounds.
func (t *turns) first(rounds, sum int) (endpoint int32, gained int) {
	n := len(t.endpoints)
	return t.endpoints[t.had%n], rounds*t.weight - t.had/n*sum
}

// smooth spreads the turns of each endpoint evenly: each round, all gain their
// weight, and the one that has gained most, the first of equal ones, pays for its turn
// with the sum of all. It compares one endpoint of each weight; since there are that
// many turns, weights are few: n different ones make n*n/2 turns at least.
func smooth(up []int32) []int32 {
	byWeight := map[int]*turns{}
	var sets []*turns
	for i := 0; i < len(up); {
		weight := 1
		for i+weight < len(up) && up[i+weight] == up[i] {
			weight++
		}
		set := byWeight[weight]
		if set == nil {
			set = &turns{weight: weight}
			byWeight[weight] = set
			sets = append(sets, set)
		}
		set.endpoints = append(set.endpoints, up[i])
		i += weight
	}
	if len(sets) == 1 && sets[0].weight == 1 {
		return up
	}
	order := make([]int32, len(up))
	for i := range order {
		next := sets[0]
		endpoint, most := next.first(i+1, len(up))
		for _, set := range sets[1:] {
			if e, gained := set.first(i+1, len(up)); gained > most || gained == most && e < endpoint {
				next, endpoint, most = set, e, gained
			}
		}
		next.had++
		order[i] = endpoint
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
