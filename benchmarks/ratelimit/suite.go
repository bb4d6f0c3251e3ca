package ratelimit

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// Suite returns the suite.
func Suite() *bench.Suite {
	w := &workload{}
	return &bench.Suite{
		Name: "ratelimit",
		Workload: `keyed decisions: allow = 1e12 per hour, never used up; deny = 1 per day, used up before
keys "user:0000000" ...; uniform or zipf s=1.01 over a ring of 2^20 indexes drawn before; all keys known before
each key is read shortly before it is asked about, as a server has it in its cache that has just received it
every implementation is called through the same func(string) bool, and every answer is checked
uprung has default settings, but Capacity 1e6 where there are 1M keys; golang-lru-xtime and throttled likewise
throttled may retry 10000 times where its default of 10 makes it fail when two callers share a key
all: two limits of which both must grant (uprung), against one of them alone (uprung-one)
heap: 1M new keys with one event each, of which every eighth is asked again; one in 1000 may have been forgotten (uprung forgets about 35 of the million, the peers none); the keys' own bytes are not counted
http: 1024 clients by RemoteAddr, allowed, no-op ResponseWriter whose header map is cleared and used again
http/headers=none: uprung and httprate send no headers; the other peers cannot leave theirs out`,
		Contests: []bench.Runnable{
			w.decisions(plenty, 1, "allow/keys=1", uniform),
			w.decisions(plenty, 10_000, "allow/keys=10k", uniform),
			w.million(),
			w.decisions(one, 1, "deny/keys=1", uniform),
			w.all(),
			w.heap(),
			httpContest("http/headers=none", false),
			httpContest("http/headers=ietf", true),
		},
		Targets: targets,
		Absent:  []bench.Absent{{Impl: "clipperhouse", Why: "not measured yet"}},
	}
}

var targets = []bench.Target{
	{Case: "allow/keys=1/cpus=1", Metric: "cpu_ns", Peer: "mutexmap-xtime", Bound: bench.AtMost(0.40)},
	{Case: "allow/keys=1M/dist=zipf/cpus=2", Metric: "wall_ns", Peer: "mutexmap-xtime", Bound: bench.AtMost(0.25)},
	{Case: "allow/keys=1M/dist=zipf/cpus=2", Metric: "wall_ns", Peer: "sethvargo", Bound: bench.AtMost(0.5)},
	{Case: "allow/keys=1M/dist=uniform/cpus=2", Metric: "wall_ns", Peer: "golang-lru-xtime", Bound: bench.AtMost(0.17)},
	{Case: "(allow|deny)/.*", Metric: "allocs", Bound: bench.AtMost(0)},
	{Case: "all/limits=2/cpus=1", Metric: "cpu_ns", Peer: "uprung-one", Bound: bench.AtMost(2.2)},
	{Case: "all/.*", Metric: "allocs", Bound: bench.AtMost(0)},
	{Case: "heap/keys=1M", Metric: "bytes_per_key", Bound: bench.AtMost(32)},
	{Case: "heap/keys=1M", Metric: "bytes_per_key", Bound: bench.AtMost(24), Stretch: true},
	{Case: "heap/keys=1M", Metric: "objects_per_key", Bound: bench.AtMost(0)},
	{Case: "http/headers=ietf", Metric: "cpu_ns", Peer: bench.Best, Bound: bench.AtMost(1.0 / 3)},
	{Case: "http/headers=ietf", Metric: "allocs", Bound: bench.AtMost(2)},
	{Case: "http/headers=none", Metric: "allocs", Bound: bench.AtMost(0)},
}

// million is how many keys "1M" are.
const million = 1_000_000

// decisions is a contest in decisions about keys that are known.
func (w *workload) decisions(q quota, keys int, name string, draw func(*bench.Env, int) ring) *bench.Contest[limiter] {
	return &bench.Contest[limiter]{Impls: w.prepared(q, keys), Cases: w.onOneAndTwo(q, keys, name, draw)}
}

// million is the contest of a million keys. Filling the limiters takes longer
// than asking them, so that both distributions are asked of the same ones.
func (w *workload) million() *bench.Contest[limiter] {
	c := w.decisions(plenty, million, "allow/keys=1M/dist=uniform", uniform)
	c.Cases = append(c.Cases, w.onOneAndTwo(plenty, million, "allow/keys=1M/dist=zipf", zipf)...)
	return c
}

// all is the contest of two limits asked at once against one of them alone.
func (w *workload) all() *bench.Contest[limiter] {
	impl := func(name string, make func(quota, int) (limiter, error)) bench.Impl[limiter] {
		return bench.Impl[limiter]{Name: name, Open: func(*bench.Env) (limiter, error) {
			l, err := make(plenty, 1)
			if err != nil {
				return limiter{}, err
			}
			return l, fill(l, w.keys(1), 1)
		}}
	}
	return &bench.Contest[limiter]{
		Impls: []bench.Impl[limiter]{impl(bench.Ours, newUprungAll), impl(bench.Ours+"-one", newUprung)},
		Cases: w.onOneAndTwo(plenty, 1, "all/limits=2", uniform),
	}
}

// prepared returns all implementations, each filled with all keys.
func (w *workload) prepared(q quota, keys int) []bench.Impl[limiter] {
	impls := make([]bench.Impl[limiter], 0, len(makers))
	for _, m := range makers {
		impls = append(impls, bench.Impl[limiter]{Name: m.name, Open: func(e *bench.Env) (limiter, error) {
			n := e.Size(keys)
			l, err := m.make(q, n)
			if err != nil {
				return limiter{}, err
			}
			return l, fill(l, w.keys(n), n)
		}})
	}
	return impls
}

// fill has one event of each of the first n keys allowed.
func fill(l limiter, keys keySet, n int) error {
	for i := range uint32(n) {
		if !l.allow(keys.at(i)) {
			return fmt.Errorf("the first event of %q is denied", keys.at(i))
		}
	}
	return nil
}

// onOneAndTwo is one case for each number of processors.
func (w *workload) onOneAndTwo(q quota, keys int, name string, draw func(*bench.Env, int) ring) []bench.Case[limiter] {
	cases := make([]bench.Case[limiter], 0, 2)
	for procs := 1; procs <= 2; procs++ {
		ratio := "cpu_ns"
		if procs > 1 {
			ratio = "wall_ns"
		}
		cases = append(cases, bench.Case[limiter]{
			Name:  fmt.Sprintf("%s/cpus=%d", name, procs),
			Procs: procs,
			Ratio: ratio,
			Begin: func(e *bench.Env) func(limiter, *bench.Round) (bench.Figures, error) {
				n := e.Size(keys)
				set, sequence := w.keys(n), draw(e, n)
				return func(l limiter, r *bench.Round) (bench.Figures, error) {
					return sequence.loop(r, set, l, q == plenty)
				}
			},
		})
	}
	return cases
}

// heap is the contest in the memory that a million keys take. Its subjects are
// the makers: each round makes the limiter anew.
func (w *workload) heap() *bench.Contest[maker] {
	impls := make([]bench.Impl[maker], 0, len(makers))
	for _, m := range makers {
		impls = append(impls, bench.Impl[maker]{Name: m.name, Open: func(*bench.Env) (maker, error) { return m.make, nil }})
	}
	return &bench.Contest[maker]{Impls: impls, Cases: []bench.Case[maker]{{
		Name:  "heap/keys=1M",
		Procs: 2, // for the collector
		Heavy: true,
		Ratio: "bytes_per_key",
		Begin: func(e *bench.Env) func(maker, *bench.Round) (bench.Figures, error) {
			n := e.Size(million)
			keys := w.keys(n)
			return func(m maker, _ *bench.Round) (bench.Figures, error) { return weigh(m, keys, n) }
		},
	}}}
}

// weigh fills a limiter with n new keys and returns what that took.
func weigh(m maker, keys keySet, n int) (_ bench.Figures, err error) {
	before, _ := settledHeap()
	l, err := m(one, n)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	start := time.Now()
	err = fill(l, keys, n)
	insert := time.Since(start)
	if err != nil {
		return nil, err
	}
	after, collection := settledHeap()
	if err := remembers(l, keys, n); err != nil {
		return nil, err
	}
	per := func(total float64) float64 { return total / float64(n) }
	return bench.Figures{
		"bytes_per_key":   per(float64(after.HeapAlloc) - float64(before.HeapAlloc)),
		"objects_per_key": per(float64(after.HeapObjects) - float64(before.HeapObjects)),
		"gc_ms":           float64(collection) / float64(time.Millisecond),
		"insert_ns":       per(float64(insert)),
	}, nil
}

// settledHeap returns the state of the heap once all garbage is gone, and how
// long a full collection takes that finds none. The first collection leaves what
// has finalizers or sits in pools to the second.
func settledHeap() (m runtime.MemStats, collection time.Duration) {
	runtime.GC()
	start := time.Now()
	runtime.GC()
	collection = time.Since(start)
	runtime.ReadMemStats(&m)
	return m, collection
}

var errForgot = errors.New("it has forgotten keys that it was made for")

// remembers checks that keys that have had their one event are denied another:
// memory is only worth something if nothing was dropped. It asks about every
// eighth key, and lets one in a thousand of them pass for tables that place keys
// by hash.
func remembers(l limiter, keys keySet, n int) error {
	asked, forgotten := 0, 0
	for i := 0; i < n; i += 8 {
		asked++
		if l.allow(keys.at(uint32(i))) {
			forgotten++
		}
	}
	if forgotten > asked/1000 {
		return fmt.Errorf("%w: %d of %d", errForgot, forgotten, asked)
	}
	return nil
}
