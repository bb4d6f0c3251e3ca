package shard

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// Suite returns the suite.
func Suite() *bench.Suite {
	s := &bench.Suite{
		Name: "shard",
		Workload: `lookup: 65536 random keys of 16 bytes, hashing included, the answer is the name of a node, called through the same func(string) string
nodes "node-0" ... of one weight; every implementation has the settings that its documentation advises, tables of Maglev have 65537 entries
grpc-ring-rewritten is the ring and the lookup of grpc-go's ring_hash policy, which is internal, written anew; at 10000 nodes its 4096 items leave most without keys
dgryski-maglev-rewritten is the table and the lookup of go-maglev written anew, keys hashed by siphash as it hashes names; -xxhash has them hashed as we do
left out at 10000 nodes: stathat, which sorts all points again for each node (minutes), and kkdai-maglev, which keeps a permutation for each node (5 GB)
rendezvous, slots and jump have no peer that could be had, and meet two rings
build, add: time of one whole build, and of one node more; in place (stathat, groupcache) or as a copy (uprung, serialx, grpc-ring-rewritten)
heap: what a table holds once all garbage is gone, the names of the nodes not counted
balance: 1M keys; max_over_avg = keys of the busiest node to the average, the median over three sets of names in each round, of which no two are the same, since
  names are luck; one node is added: moved_over_ideal = keys that move to 1/101 of all, within what the new node's share is off; astray = share of them that move
  between nodes that were there before, which is what never has to be; slots_off = moved slots off 16384/101`,
		Targets: targets,
		Absent: []bench.Absent{
			{Impl: "dgryski-maglev", Why: "github.com/dgryski/go-maglev could not be had"},
			{Impl: "buraksezer", Why: "github.com/buraksezer/consistent could not be had"},
			{Impl: "lafikl", Why: "github.com/lafikl/consistent could not be had"},
		},
	}
	for _, table := range []string{"ring", "maglev", "rendezvous", "slots"} {
		for _, nodes := range []int{10, 100, 1000, 10_000} {
			s.Contests = append(s.Contests, lookups(table, nodes))
		}
	}
	s.Contests = append(s.Contests, operations("ring", 1000), heap("maglev", 1000))
	for _, table := range []string{"ring", "maglev", "rendezvous", "slots", "jump"} {
		s.Contests = append(s.Contests, balance(table, 100))
	}
	return s
}

var targets = []bench.Target{
	{Case: "lookup/table=ring/nodes=(100|1000)", Metric: "cpu_ns", Peer: "stathat", Bound: bench.AtMost(0.15)},
	{Case: "lookup/table=ring/nodes=(100|1000)", Metric: "cpu_ns", Peer: "grpc-ring-rewritten", Bound: bench.AtMost(0.25)},
	{Case: "lookup/table=maglev/nodes=(100|1000)", Metric: "cpu_ns", Peer: "dgryski-maglev-rewritten", Bound: bench.AtMost(0.4)},
	{Case: "lookup/table=maglev/nodes=(100|1000)", Metric: "cpu_ns", Peer: "kkdai-maglev", Bound: bench.AtMost(0.3)},
	{Case: "lookup/.*", Metric: "allocs", Bound: bench.AtMost(0)},
	{Case: "add/table=ring/nodes=1000", Metric: "wall_ns", Bound: bench.AtMost(5e6)},
	{Case: "add/table=ring/nodes=1000", Metric: "wall_ns", Bound: bench.AtMost(2e6), Stretch: true},
	{Case: "heap/table=maglev/nodes=1000", Metric: "heap_bytes", Peer: "kkdai-maglev", Bound: bench.AtMost(0.001)},
	{Case: "balance/table=ring/nodes=100", Metric: "max_over_avg", Bound: bench.AtMost(1.25)},
	{Case: "balance/table=ring/nodes=100", Metric: "max_over_avg", Impl: bench.Ours + "-512", Bound: bench.AtMost(1.11)},
	{Case: "balance/table=(ring|rendezvous|slots|jump)/nodes=100", Metric: "astray", Bound: bench.AtMost(0)},
	{Case: "balance/table=(ring|rendezvous|slots|jump)/nodes=100", Metric: "moved_over_ideal", Bound: bench.AtMost(1.1)},
	{Case: "balance/table=slots/nodes=100", Metric: "slots_off", Bound: bench.AtMost(1)},
}

// lookupKeys is a power of two: keys and their headers fit the caches that a
// server's requests have just filled.
const lookupKeys = 1 << 16

// lookups is a contest in lookups alone.
func lookups(table string, nodes int) *bench.Contest[router] {
	c := &bench.Contest[router]{Cases: []bench.Case[router]{{
		Name:  fmt.Sprintf("lookup/table=%s/nodes=%d", table, nodes),
		Ratio: "cpu_ns",
		Begin: func(e *bench.Env) func(router, *bench.Round) (bench.Figures, error) {
			keys := newKeys(e, lookupKeys)
			return func(one router, r *bench.Round) (bench.Figures, error) {
				return r.Loop(func(_, from, n int) (met int) {
					for i := from; i < from+n; i++ {
						if one.lookup(keys[i&(lookupKeys-1)]) != "" {
							met++
						}
					}
					return met
				})
			}
		},
	}}}
	for _, one := range entrants(table) {
		if one.most > 0 && nodes > one.most {
			continue
		}
		c.Impls = append(c.Impls, bench.Impl[router]{Name: one.name, Open: func(e *bench.Env) (router, error) {
			return one.make(newNames(sized(e, nodes)))
		}})
	}
	return c
}

// contest is one of makers.
func contest(entrants []entrant, cases ...bench.Case[maker]) *bench.Contest[maker] {
	c := &bench.Contest[maker]{Cases: cases}
	for _, one := range entrants {
		c.Impls = append(c.Impls, bench.Impl[maker]{Name: one.name, Open: func(*bench.Env) (maker, error) { return one.make, nil }})
	}
	return c
}

// operations is the contest in building and in adding a node.
func operations(table string, nodes int) *bench.Contest[maker] {
	build := func(e *bench.Env) func(maker, *bench.Round) (bench.Figures, error) {
		names := newNames(sized(e, nodes))
		return func(make maker, r *bench.Round) (bench.Figures, error) {
			return repeat(r, func(int) error {
				_, err := make(names)
				return err
			})
		}
	}
	add := func(e *bench.Env) func(maker, *bench.Round) (bench.Figures, error) {
		n := sized(e, nodes)
		names := newNames(n)
		return func(make maker, r *bench.Round) (bench.Figures, error) {
			one, err := make(names)
			if err != nil {
				return nil, err
			}
			runtime.GC() // of what the round before left
			return repeat(r, func(i int) error { return one.add(nodeName(n + i)) })
		}
	}
	suffix := fmt.Sprintf("/table=%s/nodes=%d", table, nodes)
	return contest(entrants(table),
		bench.Case[maker]{Name: "build" + suffix, Heavy: true, Ratio: "wall_ns", Begin: build},
		bench.Case[maker]{Name: "add" + suffix, Heavy: true, Ratio: "wall_ns", Begin: add},
	)
}

// mostOps bounds how many nodes a round adds to those that grow in place.
const mostOps = 100

// repeat calls do, which takes long, with 0, 1 and so on until the round is over.
func repeat(r *bench.Round, do func(i int) error) (bench.Figures, error) {
	start, ops := time.Now(), 0
	for ops == 0 || ops < mostOps && time.Since(start) < r.Duration {
		if err := do(ops); err != nil {
			return nil, err
		}
		ops++
	}
	return bench.Figures{"wall_ns": float64(time.Since(start)) / float64(ops)}, nil
}

// heap is the contest in what a table holds.
func heap(table string, nodes int) *bench.Contest[maker] {
	return contest(entrants(table), bench.Case[maker]{
		Name:  fmt.Sprintf("heap/table=%s/nodes=%d", table, nodes),
		Procs: 2, // for the collector
		Heavy: true,
		Ratio: "heap_bytes",
		Begin: func(e *bench.Env) func(maker, *bench.Round) (bench.Figures, error) {
			names := newNames(sized(e, nodes))
			return func(make maker, _ *bench.Round) (bench.Figures, error) {
				before := settledHeap()
				one, err := make(names)
				if err != nil {
					return nil, err
				}
				after := settledHeap()
				if one.lookup("key") == "" {
					return nil, errNowhere
				}
				return bench.Figures{"heap_bytes": float64(after) - float64(before)}, nil
			}
		},
	})
}

// settledHeap returns the bytes that are in use once all garbage is gone: the first
// collection leaves what sits in pools to the second.
func settledHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

var errNowhere = errors.New("a key has no node, or one that does not exist")

const (
	// balanceKeys is the number of keys whose nodes are counted.
	balanceKeys = 1_000_000
	// nameSets is the number of sets of names in a round: how even a ring is depends
	// on the names, as if by a throw of dice.
	nameSets = 3
)

// balance is the contest in how evenly keys are spread, and how many move.
func balance(table string, nodes int) *bench.Contest[maker] {
	return contest(balanced(table), bench.Case[maker]{
		Name:  fmt.Sprintf("balance/table=%s/nodes=%d", table, nodes),
		Procs: 2, // for the collector
		Heavy: true,
		Ratio: "max_over_avg",
		Begin: func(e *bench.Env) func(maker, *bench.Round) (bench.Figures, error) {
			n, keys := sized(e, nodes), newKeys(e, e.Size(balanceKeys))
			return func(make maker, r *bench.Round) (bench.Figures, error) {
				sets := map[string][]float64{}
				for set := range nameSets {
					names := newNames(n + 1)
					for i := range names {
						names[i] = fmt.Sprintf("set-%d-%s", r.Number*nameSets+set, names[i])
					}
					figures, err := spread(make, names[:n], names[n], keys)
					if err != nil {
						return nil, err
					}
					for metric, value := range figures {
						sets[metric] = append(sets[metric], value)
					}
				}
				figures := bench.Figures{}
				for metric, values := range sets {
					slices.Sort(values)
					figures[metric] = values[len(values)/2]
				}
				return figures, nil
			}
		},
	})
}

// spread counts the keys of nodes of these names, and which move when there is one
// more.
func spread(makeOne maker, names []string, added string, keys []string) (bench.Figures, error) {
	n := len(names)
	before, err := makeOne(names)
	if err != nil {
		return nil, err
	}
	var after router
	var figures bench.Figures
	if before.grown != nil {
		after, figures, err = before.grown(added)
	} else {
		after, err = makeOne(append(slices.Clip(names), added))
	}
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int, n)
	for _, name := range names {
		counts[name] = 0
	}
	moved, astray := 0, 0
	for _, key := range keys {
		from, to := before.lookup(key), after.lookup(key)
		counts[from]++
		if from != to {
			moved++
			if to != added {
				astray++
			}
		}
	}
	if len(counts) != n {
		return nil, errNowhere
	}
	most := 0
	for _, count := range counts {
		most = max(most, count)
	}
	if figures == nil {
		figures = bench.Figures{}
	}
	figures["max_over_avg"] = float64(most) * float64(n) / float64(len(keys))
	figures["moved_over_ideal"] = float64(moved) * float64(n+1) / float64(len(keys))
	figures["astray"] = float64(astray) / float64(max(1, moved))
	return figures, nil
}
