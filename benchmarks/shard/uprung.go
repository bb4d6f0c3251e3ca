package shard

import (
	"math"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/shard"
)

func nodesOf(names []string) []shard.Node {
	nodes := make([]shard.Node, len(names))
	for i, name := range names {
		nodes[i].ID = name
	}
	return nodes
}

// namesOf returns the nodes' names by index: what a caller keeps for each node
// lies beside the table, and here it is the name.
func namesOf(t shard.Table) []string {
	names := make([]string, len(t.Nodes()))
	for i, n := range t.Nodes() {
		names[i] = n.ID
	}
	return names
}

// newRing has this many points for each node; zero means the default.
func newRing(points int) maker {
	return func(names []string) (router, error) {
		ring, err := shard.NewRing(nodesOf(names), &shard.RingOptions{Points: points})
		if err != nil {
			return router{}, err
		}
		names = namesOf(ring)
		return router{
			lookup: func(key string) string { return names[ring.Lookup(shard.Hash(key))] },
			add: func(name string) error {
				_, err := ring.Add(shard.Node{ID: name})
				return err
			},
		}, nil
	}
}

func newMaglev(names []string) (router, error) {
	maglev, err := shard.NewMaglev(nodesOf(names), nil)
	if err != nil {
		return router{}, err
	}
	names = namesOf(maglev)
	return router{lookup: func(key string) string { return names[maglev.Lookup(shard.Hash(key))] }}, nil
}

func newRendezvous(names []string) (router, error) {
	rendezvous, err := shard.NewRendezvous(nodesOf(names))
	if err != nil {
		return router{}, err
	}
	names = namesOf(rendezvous)
	return router{lookup: func(key string) string { return names[rendezvous.Lookup(shard.Hash(key))] }}, nil
}

func newJump(names []string) (router, error) {
	jump, err := shard.NewJump(nodesOf(names))
	if err != nil {
		return router{}, err
	}
	names = namesOf(jump)
	return router{lookup: func(key string) string { return names[jump.Lookup(shard.Hash(key))] }}, nil
}

func newSlots(names []string) (router, error) {
	slots, err := shard.NewSlots(nodesOf(names), nil)
	if err != nil {
		return router{}, err
	}
	return slotsRouter(slots), nil
}

// slotsRouter grows by rebalancing: where slots are depends on where they were.
func slotsRouter(slots *shard.Slots) router {
	names := namesOf(slots)
	return router{
		lookup: func(key string) string { return names[slots.Lookup(shard.Hash(key))] },
		grown: func(name string) (router, bench.Figures, error) {
			nodes := append(nodesOf(names), shard.Node{ID: name})
			to, moves, err := slots.Rebalance(nodes)
			if err != nil {
				return router{}, nil, err
			}
			ideal := float64(slots.Len()) / float64(len(nodes))
			off := math.Abs(float64(len(moves)) - ideal)
			return slotsRouter(to), bench.Figures{"slots_off": off}, nil
		},
	}
}
