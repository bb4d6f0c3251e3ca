package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/maypok86/otter/v2"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/cachetest"
)

// Suite returns the suite of what caches cost.
func Suite() *bench.Suite {
	w := &work{}
	s := &bench.Suite{
		Name: "cache",
		Workload: `keys are strings of 16 bytes, values slices of 64 bytes, the same for all implementations
get-hit: 100000 keys that are all there, in a cache for 200000, in random order; mixed-zipf-75-25: draws of zipf s=0.99 from 1M keys in a cache for 100000, three gets to one set
set: 1M keys in random order into a cache for 100000; heap: a cache for 1M entries filled with 1M, keys and values included
tiered-l1hit: GetOrLoad of 100000 keys that are there, with a TTL and, for uprung, a second tier in memory, tags and refresh ahead aside; otter: Get with a loader and
  ExpiryWriting; golang-lru: expirable, without a loader
uprung has default settings; it counts hits and misses, the others do not unless asked to`,
		Targets: []bench.Target{
			{Case: "mixed-zipf-75-25/cpus=2", Metric: "wall_ns", Peer: "otter", Bound: bench.AtMost(0.9)},
			{Case: "set/cpus=2", Metric: "wall_ns", Peer: "otter", Bound: bench.AtMost(0.8)},
			{Case: "get-hit/cpus=2", Metric: "wall_ns", Peer: "otter", Bound: bench.AtMost(1.5)},
			{Case: "get-hit/cpus=2", Metric: "wall_ns", Peer: "otter", Bound: bench.AtMost(1.2), Stretch: true},
			{Case: "heap/entries=1M", Metric: "bytes_per_entry", Peer: "otter", Bound: bench.AtMost(1.25)},
			{Case: "tiered-l1hit/.*", Metric: "cpu_ns", Peer: "otter", Bound: bench.AtMost(1.3)},
			{Case: "(tiered-l1hit|get-hit)/.*", Metric: "allocs", Bound: bench.AtMost(0)},
		},
	}
	s.Contests = []bench.Runnable{
		w.contest("get-hit", 200_000, 100_000, w.hit),
		w.contest("mixed-zipf-75-25", 100_000, 1_000_000, w.mixed),
		w.contest("set", 100_000, 1_000_000, w.set),
		w.tiered(),
		w.heap(),
	}
	return s
}

// subject is an implementation as the cases use it.
type subject struct {
	get   func(key string) bool
	set   func(key string, value []byte)
	close func()
}

// Close ends its goroutines.
func (s subject) Close() { s.close() }

// maker makes a cache for so many entries.
type maker func(size int) (subject, error)

func makers() []struct {
	name string
	make maker
} {
	return []struct {
		name string
		make maker
	}{
		{bench.Ours, uprung(cache.Adaptive)},
		{bench.Ours + "-s3fifo", uprung(cache.S3FIFO)},
		{bench.Ours + "-tinylfu", uprung(cache.TinyLFU)},
		{bench.Ours + "-lru", uprung(cache.LRU)},
		{"otter", func(size int) (subject, error) {
			c, err := otter.New(&otter.Options[string, []byte]{MaximumSize: size})
			if err != nil {
				return subject{}, err
			}
			return subject{
				get:   func(key string) bool { _, ok := c.GetIfPresent(key); return ok },
				set:   func(key string, value []byte) { c.Set(key, value) },
				close: func() { c.StopAllGoroutines() },
			}, nil
		}},
		{"golang-lru", func(size int) (subject, error) {
			c, err := lru.New[string, []byte](size)
			if err != nil {
				return subject{}, err
			}
			return subject{
				get:   func(key string) bool { _, ok := c.Get(key); return ok },
				set:   func(key string, value []byte) { c.Add(key, value) },
				close: func() {},
			}, nil
		}},
		{"theine", func(size int) (subject, error) {
			c, err := theine.NewBuilder[string, []byte](int64(size)).Build()
			if err != nil {
				return subject{}, err
			}
			return subject{
				get:   func(key string) bool { _, ok := c.Get(key); return ok },
				set:   func(key string, value []byte) { c.Set(key, value, 1) },
				close: c.Close,
			}, nil
		}},
		{"ristretto", func(size int) (subject, error) {
			c, err := ristretto.NewCache(&ristretto.Config[string, []byte]{
				NumCounters: 10 * int64(size), MaxCost: int64(size), BufferItems: 64, IgnoreInternalCost: true,
			})
			if err != nil {
				return subject{}, err
			}
			return subject{
				get:   func(key string) bool { _, ok := c.Get(key); return ok },
				set:   func(key string, value []byte) { c.Set(key, value, 1) },
				close: c.Close,
			}, nil
		}},
	}
}

func uprung(policy cache.Policy) maker {
	return func(size int) (subject, error) {
		c, err := cache.New(size, &cache.Options[string, []byte]{Policy: policy})
		if err != nil {
			return subject{}, err
		}
		ctx := context.Background()
		return subject{
			get:   func(key string) bool { _, ok := c.Get(ctx, key); return ok },
			set:   func(key string, value []byte) { _ = c.Set(ctx, key, value) }, // cannot fail without a store
			close: func() { _ = c.Close() },
		}, nil
	}
}

// work is keys, their order, and values, made once.
type work struct {
	keys   []string
	values [][]byte
	zipf   []uint32
	order  []uint32
}

// ring is how many draws there are before they begin again.
const ring = 1 << 20

func (w *work) prepare(e *bench.Env, keys int) (n int) {
	n = e.Size(keys)
	random := rand.New(rand.NewPCG(e.Seed, 7))
	for len(w.keys) < n {
		w.keys = append(w.keys, fmt.Sprintf("key:%012d", len(w.keys)))
	}
	for len(w.values) < 1024 {
		w.values = append(w.values, make([]byte, 64))
	}
	if w.zipf == nil {
		z := newZipf(random, 0.99, e.Size(1_000_000))
		w.zipf, w.order = make([]uint32, ring), make([]uint32, ring)
		for i := range w.zipf {
			w.zipf[i], w.order[i] = z.draw(), random.Uint32()
		}
	}
	return n
}

// loop returns what one case does: n operations of a worker.
type loop func(s subject, keys int) func(worker, from, n int) int

func (w *work) hit(s subject, keys int) func(worker, from, n int) int {
	return func(worker, from, n int) (met int) {
		for i := from; i < from+n; i++ {
			if s.get(w.keys[int(w.order[(i+worker*ring/2)%ring])%keys]) {
				met++
			}
		}
		return met
	}
}

func (w *work) mixed(s subject, keys int) func(worker, from, n int) int {
	return func(worker, from, n int) int {
		for i := from; i < from+n; i++ {
			key := w.keys[int(w.zipf[(i+worker*ring/2)%ring])%keys]
			if i%4 == 3 {
				s.set(key, w.values[i%1024])
			} else {
				s.get(key)
			}
		}
		return n
	}
}

func (w *work) set(s subject, keys int) func(worker, from, n int) int {
	return func(worker, from, n int) int {
		for i := from; i < from+n; i++ {
			s.set(w.keys[int(w.order[(i+worker*ring/2)%ring])%keys], w.values[i%1024])
		}
		return n
	}
}

// contest is of one kind of loop, on one processor and on two.
func (w *work) contest(name string, size, keys int, do loop) bench.Runnable {
	c := &bench.Contest[subject]{}
	for _, m := range makers() {
		c.Impls = append(c.Impls, bench.Impl[subject]{Name: m.name, Open: func(e *bench.Env) (subject, error) {
			n := w.prepare(e, keys)
			s, err := m.make(max(leastSize, e.Size(size)))
			if err != nil {
				return subject{}, err
			}
			for i := range n {
				s.set(w.keys[i], w.values[i%1024])
			}
			// Those that set behind one's back, or drop some, get a second chance.
			for range 100 {
				missing := 0
				for i := range n {
					if size > keys && !s.get(w.keys[i]) {
						s.set(w.keys[i], w.values[i%1024])
						missing++
					}
				}
				if missing == 0 {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			return s, nil
		}})
	}
	c.Cases = onOneAndTwo(name, func(e *bench.Env) func(subject, *bench.Round) (bench.Figures, error) {
		n := w.prepare(e, keys)
		return func(s subject, r *bench.Round) (bench.Figures, error) { return r.Loop(do(s, n)) }
	})
	return c
}

func onOneAndTwo(name string, begin func(*bench.Env) func(subject, *bench.Round) (bench.Figures, error)) []bench.Case[subject] {
	var cases []bench.Case[subject]
	for procs := 1; procs <= 2; procs++ {
		ratio := "cpu_ns"
		if procs > 1 {
			ratio = "wall_ns"
		}
		cases = append(cases, bench.Case[subject]{Name: fmt.Sprintf("%s/cpus=%d", name, procs), Procs: procs, Ratio: ratio, Begin: begin})
	}
	return cases
}

// tiered is the contest of hits by those that would load, with a time to live and, where
// there is one, a second tier.
func (w *work) tiered() bench.Runnable {
	const size, keys, ttl = 200_000, 100_000, time.Hour
	value := make([]byte, 64)
	c := &bench.Contest[subject]{}
	impl := func(name string, open func(size int) (subject, error)) {
		c.Impls = append(c.Impls, bench.Impl[subject]{Name: name, Open: func(e *bench.Env) (subject, error) {
			n := w.prepare(e, keys)
			s, err := open(max(leastSize, e.Size(size)))
			if err == nil {
				for i := range n {
					s.get(w.keys[i])
				}
			}
			return s, err
		}})
	}
	impl(bench.Ours, func(size int) (subject, error) {
		c, err := cache.New(size, &cache.Options[string, []byte]{
			TTL: ttl, Store: cachetest.NewEngine().Client(), Namespace: "bench", MemoryTTL: ttl,
		})
		if err != nil {
			return subject{}, err
		}
		ctx := context.Background()
		load := func(context.Context, string) ([]byte, error) { return value, nil }
		return subject{
			get:   func(key string) bool { _, err := c.GetOrLoad(ctx, key, load); return err == nil },
			close: func() { _ = c.Close() },
		}, nil
	})
	impl("otter", func(size int) (subject, error) {
		c, err := otter.New(&otter.Options[string, []byte]{
			MaximumSize: size, ExpiryCalculator: otter.ExpiryWriting[string, []byte](ttl),
		})
		if err != nil {
			return subject{}, err
		}
		ctx := context.Background()
		load := otter.LoaderFunc[string, []byte](func(context.Context, string) ([]byte, error) { return value, nil })
		return subject{
			get:   func(key string) bool { _, err := c.Get(ctx, key, load); return err == nil },
			close: func() { c.StopAllGoroutines() },
		}, nil
	})
	impl("golang-lru", func(size int) (subject, error) {
		c := expirable.NewLRU[string, []byte](size, nil, ttl)
		return subject{
			get: func(key string) bool {
				if _, ok := c.Get(key); !ok {
					c.Add(key, value)
				}
				return true
			},
			close: func() {},
		}, nil
	})
	c.Cases = onOneAndTwo("tiered-l1hit", func(e *bench.Env) func(subject, *bench.Round) (bench.Figures, error) {
		n := w.prepare(e, keys)
		return func(s subject, r *bench.Round) (bench.Figures, error) { return r.Loop(w.hit(s, n)) }
	})
	return c
}

var errLost = errors.New("it holds fewer entries than it was given")

// heap is the contest in memory. Each round makes and fills the cache anew.
func (w *work) heap() bench.Runnable {
	c := &bench.Contest[maker]{}
	for _, m := range makers() {
		if m.name == "ristretto" {
			continue // it drops what is set at full speed
		}
		c.Impls = append(c.Impls, bench.Impl[maker]{Name: m.name, Open: func(*bench.Env) (maker, error) { return m.make, nil }})
	}
	c.Cases = []bench.Case[maker]{{
		Name:  "heap/entries=1M",
		Procs: 2, // for the collector
		Heavy: true,
		Ratio: "bytes_per_entry",
		Begin: func(e *bench.Env) func(maker, *bench.Round) (bench.Figures, error) {
			n := max(leastSize, e.Size(1_000_000))
			return func(m maker, _ *bench.Round) (bench.Figures, error) { return weigh(m, n) }
		},
	}}
	return c
}

// weigh fills a cache with keys and values of its own.
func weigh(m maker, n int) (bench.Figures, error) {
	before, _ := settledHeap()
	s, err := m(n)
	if err != nil {
		return nil, err
	}
	defer s.close()
	for i := range n {
		s.set(fmt.Sprintf("key:%012d", i), make([]byte, 64))
	}
	time.Sleep(100 * time.Millisecond) // for those that set behind one's back
	after, took := settledHeap()
	held := 0
	for i := range n {
		if s.get(fmt.Sprintf("key:%012d", i)) {
			held++
		}
	}
	if held < n*9/10 {
		return nil, fmt.Errorf("%w: %d of %d", errLost, held, n)
	}
	return bench.Figures{
		"bytes_per_entry": (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(held),
		"gc_ms":           float64(took) / float64(time.Millisecond),
	}, nil
}

// settledHeap returns the state of the heap once all garbage is gone, and how long a full
// collection takes that finds none.
func settledHeap() (m runtime.MemStats, collection time.Duration) {
	runtime.GC()
	start := time.Now()
	runtime.GC()
	collection = time.Since(start)
	runtime.ReadMemStats(&m)
	return m, collection
}
