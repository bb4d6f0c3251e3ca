package cache

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

// operations is the length of a model test.
func operations(t *testing.T) int {
	if os.Getenv("UPRUNG_FULL_MODELS") == "1" {
		return 1_000_000
	}
	if testing.Short() {
		return 10_000
	}
	return 60_000
}

// TestModel compares a cache with a map that forgets nothing: whatever a cache returns is
// what the map has, and not void or out of date. Time is made to pass by moving the base of
// the cache into the past.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, policy := range []Policy{Adaptive, S3FIFO, TinyLFU, LRU} {
		for _, weighed := range []bool{false, true} {
			t.Run(policy.String(), func(t *testing.T) {
				t.Parallel()
				model(t, policy, weighed)
			})
		}
	}
}

func model(t *testing.T, policy Policy, weighed bool) {
	const capacity, keys, ttl, maxBytes = 64, 150, time.Hour, 200
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	o := &Options[int, int]{
		Policy: policy, TTL: ttl, Jitter: -1, NegativeTTL: ttl / 2, Seed: seed | 1,
		TagsOf: func(_, v int) []string { return []string{string(rune('a' + v%5))} },
	}
	if weighed {
		o.MaxBytes, o.Weigher = maxBytes, func(_, v int) int64 { return int64(v % 11) }
	}
	c := uprung.Must(New(capacity, o))
	type entry struct {
		value   int
		absent  bool
		expires time.Duration
	}
	truth := make(map[int]entry)
	var now time.Duration
	ctx := t.Context()
	n := operations(t) / 6
	for i := range n {
		key := random.IntN(keys)
		e, known := truth[key]
		known = known && now < e.expires
		switch random.IntN(12) {
		case 0, 1:
			truth[key] = entry{value: i, expires: now + ttl}
			if err := c.Set(ctx, key, i); err != nil {
				t.Fatal(err)
			}
		case 2:
			delete(truth, key)
			if err := c.Invalidate(ctx, key); err != nil {
				t.Fatal(err)
			}
		case 3:
			if random.IntN(10) == 0 {
				tag := random.IntN(5)
				for key, e := range truth {
					if !e.absent && e.value%5 == tag {
						delete(truth, key)
					}
				}
				if err := c.InvalidateTag(ctx, string(rune('a'+tag))); err != nil {
					t.Fatal(err)
				}
			}
		case 4:
			if random.IntN(100) == 0 {
				clear(truth)
				if err := c.InvalidateAll(ctx); err != nil {
					t.Fatal(err)
				}
			}
		case 5:
			step := time.Duration(random.Int64N(int64(ttl / 10)))
			now += step
			c.base = c.base.Add(-step)
		case 6, 7, 8:
			absent := random.IntN(4) == 0
			loaded := false
			v, err := c.GetOrLoad(ctx, key, func(context.Context, int) (int, error) {
				loaded = true
				if absent {
					return 0, ErrNotFound
				}
				return i, nil
			})
			switch {
			case loaded && absent:
				truth[key] = entry{absent: true, expires: now + ttl/2}
			case loaded:
				truth[key] = entry{value: i, expires: now + ttl}
			case !known, e.absent != errors.Is(err, ErrNotFound), !e.absent && v != e.value:
				t.Fatalf("step %d: GetOrLoad(%d) is %d, %v without a load; want %+v, known %v", i, key, v, err, e, known)
			}
		default:
			if v, ok := c.Get(ctx, key); ok && (!known || e.absent || v != e.value) {
				t.Fatalf("step %d: Get(%d) is %d, want %+v, known %v", i, key, v, e, known)
			}
		}
		if i%64 == 0 {
			check(t, c)
		}
	}
	s := c.Stats()
	if s.Hits < uint64(n/50) || s.NegativeHits == 0 || s.Evicted == 0 || s.Expired == 0 {
		t.Errorf("the model was hardly put to the test: %+v", s)
	}
}

// check verifies what must be so at any instant: bounds, and that lists, index and weights
// agree.
func check[K comparable, V any](t *testing.T, c *Cache[K, V]) {
	t.Helper()
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, r := range []*room[K, V]{&s.values, &s.absent} {
			n, weight := 0, int64(0)
			for node := range r.index.all {
				n++
				weight += int64(node.weight)
				if r.index.find(node.hash, node.key) != node {
					t.Errorf("the node of %v is in the index and cannot be found", node.key)
				}
				if node.queue == nowhere {
					t.Errorf("the node of %v is in the index and in no queue", node.key)
				}
			}
			if n != r.index.len || weight != r.weight || n > r.most || weight > r.mostWeight {
				t.Errorf("there are %d nodes of weight %d, counted %d and %d, at most %d and %d", n, weight, r.index.len, r.weight, r.most, r.mostWeight)
			}
			listed := 0
			switch p := r.policy.(type) {
			case *fifo[K, V]:
				listed = p.small.len + p.main.len
			case *tinyLFU[K, V]:
				listed = p.window.len + p.probation.len + p.protected.len
			case *lru[K, V]:
				listed = p.order.Len()
			}
			if listed != n {
				t.Errorf("there are %d nodes, and %d in the queues", n, listed)
			}
		}
		s.mu.Unlock()
	}
}

// TestStress has many goroutines do everything at once, on several shards. Each value tells
// its key and when it was set: no reader may see another key's, or one from before an
// invalidation that it knows of.
func TestStress(t *testing.T) {
	t.Parallel()
	type value struct{ key, number int }
	for _, policy := range []Policy{Adaptive, S3FIFO, TinyLFU, LRU} {
		const keys, callers = 3000, 8
		c := build(2*entriesPerShard, uprung.Must((&Options[int, value]{Policy: policy}).withDefaults(2*entriesPerShard)))
		var floor [keys]atomic.Int64 // what was invalidated is below
		var number atomic.Int64
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				ctx := t.Context()
				random := rand.New(rand.NewPCG(uint64(i), 2))
				for range operations(t) / callers {
					key := random.IntN(keys)
					least := floor[key].Load()
					switch random.IntN(16) {
					case 0:
						now := number.Add(1)
						if err := c.Invalidate(ctx, key); err != nil {
							t.Error(err)
						}
						for old := floor[key].Load(); old < now && !floor[key].CompareAndSwap(old, now); old = floor[key].Load() {
						}
					case 1:
						_ = c.Set(ctx, key, value{key, math.MaxInt}) // nobody knows what it came after
					default:
						v, err := c.GetOrLoad(ctx, key, func(context.Context, int) (value, error) {
							return value{key, int(number.Add(1))}, nil
						})
						if err != nil || v.key != key || int64(v.number) < least {
							t.Errorf("%v: GetOrLoad(%d) is %+v, %v; want one since %d", policy, key, v, err, least)
							return
						}
					}
				}
			})
		}
		all.Wait()
		check(t, c)
	}
}

// Trap 15: whoever knows the code cannot know which keys collide.
func TestHashesAreSecret(t *testing.T) {
	t.Parallel()
	a, b := uprung.Must(New[string, int](10, nil)), uprung.Must(New[string, int](10, nil))
	same := 0
	for i := range 1000 {
		if key := string(rune(i)); a.hash(key) == b.hash(key) {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d of 1000 keys have the same hash in two caches", same)
	}
	for _, seed := range []uint64{1, 2} {
		x, y := hasher[string](seed), hasher[string](seed)
		if x("k") != y("k") || x("k") == hasher[string](seed+2)("k") {
			t.Errorf("hashes do not depend on the seed %d alone", seed)
		}
	}
}

// A loop that is larger than the cache is found out about, and so is its end, while others
// read, and every entry survives.
func TestAdaptiveFollowsLoops(t *testing.T) {
	t.Parallel()
	const capacity, loop = 2000, 4000
	hits := func(policy Policy) (loops, after uint64, changes int) {
		c := uprung.Must(New(capacity, &Options[int, int]{Policy: policy, Seed: 1}))
		ctx := t.Context()
		random := rand.New(rand.NewPCG(1, 5))
		ask := func(key int) {
			locked := c.shards[0].locked.Load()
			if _, ok := c.Get(ctx, key); !ok {
				_ = c.Set(ctx, key, key)
			}
			if c.shards[0].locked.Load() != locked {
				changes++
				check(t, c)
			}
		}
		for i := range 40 * loop {
			ask(i % loop)
		}
		loops = c.Stats().Hits
		for i := range 40 * loop { // what is new is what is asked for
			ask(loop + i/20 + random.IntN(capacity/2))
		}
		check(t, c)
		return loops, c.Stats().Hits - loops, changes
	}
	fifoLoops, fifoAfter, _ := hits(S3FIFO)
	loops, after, changes := hits(Adaptive)
	if loops < 20*loop/2 || fifoLoops > loops/10 {
		t.Errorf("of %d requests in a loop %d are hits, and %d with S3-FIFO alone; want a quarter at least", 40*loop, loops, fifoLoops)
	}
	if after < fifoAfter*9/10 {
		t.Errorf("after the loop %d are hits, and %d with S3-FIFO alone; want nine tenths of that", after, fifoAfter)
	}
	if changes == 0 {
		t.Error("no shard changed hands")
	}
}

// Trap 11: expiry is counted by the monotonic clock.
func TestWallClockMovesNoExpiry(t *testing.T) {
	t.Parallel()
	c := uprung.Must(New(10, &Options[int, int]{TTL: time.Hour}))
	// Round(0) takes the monotonic reading away: a base that has none would change.
	if c.base == c.base.Round(0) { //nolint:staticcheck // Equal ignores what this is about
		t.Error("the base has no reading of the monotonic clock")
	}
}

// The index finds what is there whatever the collisions are, also while it is changed.
func TestIndexUnderCollisions(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	const most = 200
	var x index[int, int]
	x.reset(most)
	truth := make(map[int]*node[int, int])
	for i := range operations(t) {
		key := random.IntN(most)
		n := truth[key]
		hash := uint64(key%3) << 30 // three homes, and one mark, for all
		if got := x.find(hash, key); got != n {
			t.Fatalf("step %d: find(%d) is %v, want %v", i, key, got, n)
		}
		switch {
		case n == nil:
			n = &node[int, int]{key: key, hash: hash}
			x.insert(n)
			truth[key] = n
		case random.IntN(3) == 0:
			other := &node[int, int]{key: key, hash: hash}
			x.replace(n, other)
			truth[key] = other
		default:
			x.remove(n)
			delete(truth, key)
		}
	}
}

func TestGhostRemembersAboutAsMany(t *testing.T) {
	t.Parallel()
	const most = 1000
	g := ghost{most: most}
	for i := range uint64(20 * most) {
		g.add(mix(i), most)
	}
	found := 0
	for i := range uint64(20 * most) {
		if g.take(mix(i)) {
			if found++; i < 19*most {
				t.Errorf("%d of %d is remembered", i, 20*most)
			}
		}
		if g.take(mix(i)) {
			t.Errorf("%d was taken twice", i)
		}
	}
	if found < most*95/100 || found > most {
		t.Errorf("%d are remembered, want about %d", found, most)
	}
}

func TestSketchCountsAndForgets(t *testing.T) {
	t.Parallel()
	s := newSketch(1000)
	for i := range uint64(100) {
		for range i % 15 {
			s.add(mix(i))
		}
	}
	exact := 0
	for i := range uint64(100) {
		switch got := s.estimate(mix(i)); {
		case got < i%15:
			t.Errorf("%d was counted %d times, and the estimate is %d", i, i%15, got)
		case got == i%15:
			exact++
		}
	}
	if exact < 95 {
		t.Errorf("%d of 100 estimates are exact", exact)
	}
	for i := range uint64(20_000) {
		s.add(mix(1000 + i))
	}
	if got := s.estimate(mix(14)); got > 8 {
		t.Errorf("after as many others as halve the counts twice, the estimate of 14 is %d", got)
	}
}
