package lb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/uprung/uprung/internal/splitmix"
	"github.com/uprung/uprung/shard"
)

// maxClient bounds the time that a subset takes to compute.
const maxClient = 1 << 20

// NewSubset returns the [Resolver] of some of the endpoints of another, at most size
// of each priority: for many clients of many endpoints, between which there would be
// a connection for each pair. The number of this client, from 0, tells the clients
// apart, such as the ordinal of a StatefulSet; how many clients there are need not be
// known.
//
// Clients take turns through shuffled lists of all endpoints (as in Beyer et al.: Site
// Reliability Engineering, chapter 20, but with lists that follow one another without
// a gap): clients 0 to n-1 together give each endpoint as many clients as any other,
// or one more. When an endpoint comes or goes, clients get others for many of theirs:
// it is for endpoints that change rarely.
//
// It is a [Watcher] if r is one.
func NewSubset(r Resolver, client, size int) (Resolver, error) {
	var errs []error
	if r == nil {
		errs = append(errs, errors.New("lb: resolver is nil, want the one to take some endpoints of"))
	}
	if client < 0 || client > maxClient {
		errs = append(errs, fmt.Errorf("lb: client is %d, want 0 to %d", client, maxClient))
	}
	if size < 1 {
		errs = append(errs, fmt.Errorf("lb: size is %d, want >= 1", size))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	resolver := ResolverFunc(func(ctx context.Context) ([]Endpoint, error) {
		endpoints, err := r.Resolve(ctx)
		return some(endpoints, client, size), err
	})
	w, ok := r.(Watcher)
	if !ok {
		return resolver, nil
	}
	return watched{resolver, func(ctx context.Context, update func([]Endpoint, error)) error {
		return w.Watch(ctx, func(endpoints []Endpoint, err error) { update(some(endpoints, client, size), err) })
	}}, nil
}

// some returns the endpoints of a client: size of each priority at most.
func some(endpoints []Endpoint, client, size int) []Endpoint {
	levels := map[int][]Endpoint{}
	for _, e := range endpoints {
		levels[e.Priority] = append(levels[e.Priority], e)
	}
	var some []Endpoint
	for _, level := range levels {
		slices.SortFunc(level, func(a, b Endpoint) int { return cmp.Compare(cmp.Or(a.ID, a.Addr), cmp.Or(b.ID, b.Addr)) })
		hashes := make([]uint64, len(level))
		for i, e := range level {
			hashes[i] = shard.Hash(cmp.Or(e.ID, e.Addr))
		}
		for _, i := range subset(hashes, client, size) {
			some = append(some, level[i])
		}
	}
	return some
}

// subset returns the indices that belong to a client: the next size of a sequence of
// rounds, each a permutation of all. Who takes the last of one round and the first of
// the next gets none twice.
func subset(hashes []uint64, client, size int) []int {
	n := len(hashes)
	if size >= n {
		return shuffled(hashes, 0)
	}
	// Each time that a number of clients have taken whole rounds, it begins anew.
	first := client - client%(n/gcd(n, size))
	round := uint64(first) * uint64(size) / uint64(n)
	order, at := shuffled(hashes, round), 0
	for c := first; ; c++ {
		if left := n - at; left >= size {
			if c == client {
				return order[at : at+size]
			}
			at += size
			continue
		}
		taken := order[at:]
		round++
		next := shuffled(hashes, round)
		at = size - len(taken)
		front(next, at, taken)
		if c == client {
			return slices.Concat(taken, next[:at])
		}
		order = next
	}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// front moves elements that are not among others to the first k places of order.
func front(order []int, k int, others []int) {
	put := 0
	for i := 0; put < k; i++ {
		if !slices.Contains(others, order[i]) {
			moved := order[i]
			copy(order[put+1:i+1], order[put:i])
			order[put] = moved
			put++
		}
	}
}

// shuffled returns the permutation of a round.
func shuffled(hashes []uint64, round uint64) []int {
	order := make([]int, len(hashes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(splitmix.Mix(hashes[a]+round*splitmix.Phi), splitmix.Mix(hashes[b]+round*splitmix.Phi))
	})
	return order
}
