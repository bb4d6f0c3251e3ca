package cache

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNotFound is what a loader returns, alone or wrapped, if there is no value for a key.
// That is remembered, for a time and a number of keys of its own.
var ErrNotFound = errors.New("cache: not found")

// ErrClosed is returned by what would have to load after Close.
var ErrClosed = errors.New("cache: closed")

// MaxCapacity is the largest number of entries of a [Cache].
const MaxCapacity = 1 << 30

// Loader returns the value of a key from where it comes from. Its context has the values of
// the context of whoever asked first, and ends when nobody waits any more, or after
// [Options].LoadTimeout.
type Loader[K comparable, V any] func(ctx context.Context, key K) (V, error)

// A Cache keeps values in memory by key, loads those that are missing once for all who
// ask, and may share them with other processes through a [Store].
//
// It is safe for concurrent use. Use [New].
type Cache[K comparable, V any] struct {
	o      Options[K, V]
	hash   func(K) uint64
	base   time.Time
	shards []shard[K, V]
	shift  uint // of a hash to the number of its shard
	voids  voids
	tier   *tier[K, V] // nil without a Store
	counts counts

	refreshes atomic.Int64 // loads ahead in progress

	life    context.Context //nolint:containedctx // it is that of the cache itself
	close   context.CancelFunc
	running sync.WaitGroup
	closing sync.Mutex
	closed  bool // guarded by closing
}

// entriesPerShard is how many entries a shard must have before there is a second one:
// parts that are small lose hits, since their bounds are theirs alone.
const entriesPerShard = 1024

// New returns a cache for at most so many entries. It starts no goroutine and does no
// I/O, but subscribes to [Options].Bus: Close ends that. Nil options are the defaults. The error
// names each field that is out of range.
func New[K comparable, V any](capacity int, o *Options[K, V]) (*Cache[K, V], error) {
	options, err := o.withDefaults(capacity)
	if err != nil {
		return nil, err
	}
	return build(capacity, options), nil
}

// build makes a cache of valid options.
func build[K comparable, V any](capacity int, o Options[K, V]) *Cache[K, V] {
	shards, bits := 1, uint(0)
	for limit := min(capacity/entriesPerShard, 4*runtime.GOMAXPROCS(0)); 2*shards <= limit; shards *= 2 {
		bits++
	}
	seed := o.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	c := &Cache[K, V]{
		o: o, hash: hasher[K](o.Seed), base: time.Now(), shards: make([]shard[K, V], shards), shift: 64 - bits,
	}
	c.life, c.close = context.WithCancel(context.Background())
	for i := range c.shards {
		s := &c.shards[i]
		share := func(total int64) int64 { return (total + int64(i)) / int64(shards) } // the shares add up to the total
		s.values.init(maker[K, V](o.Policy), int(share(int64(capacity))), share(o.MaxBytes))
		s.locked.Store(o.Policy == TinyLFU || o.Policy == LRU)
		if o.Policy == Adaptive {
			s.duel = newDuel[K, V](s.values.most)
		}
		s.absent.init(newLRU[K, V], max(1, int(share(int64(o.NegativeCapacity)))), 0)
		s.random = mix(seed + uint64(i))
	}
	if o.Store != nil {
		c.tier = newTier(c)
	}
	if o.TagsOf != nil || c.keyed() {
		c.voids.init(o.Seed, capacity)
	}
	return c
}

// now returns the time since New.
func (c *Cache[K, V]) now() int64 { return int64(time.Since(c.base)) }

func (c *Cache[K, V]) shard(hash uint64) *shard[K, V] { return &c.shards[hash>>c.shift] }

// lookup asks for the node of a key, which may be stale or void, and counts as a use.
func (c *Cache[K, V]) lookup(s *shard[K, V], hash uint64, key K) *node[K, V] {
	if s.locked.Load() {
		return s.lookupLocked(hash, key)
	}
	n := s.values.index.find(hash, key)
	if n != nil {
		if f := n.freq.Load(); f < mostFreq { // what (*fifo).hit does, without a dynamic call
			n.freq.Store(f + 1)
		}
	}
	if s.sampled(hash) && s.mu.TryLock() { // a sample can do without those that come in a crowd
		s.play(hash)
		s.mu.Unlock()
	}
	return n
}

// simple reports whether a node can be served without a closer look.
func (c *Cache[K, V]) simple(n *node[K, V]) bool {
	return n != nil && !n.tagged && (n.look == never || c.now() < n.look)
}

// void reports whether a node was invalidated by a tag.
func (c *Cache[K, V]) void(n *node[K, V]) bool { return n.tagged && c.voids.covers(n.more) }

// fresh reports whether a node, if any, is neither stale nor void.
func (c *Cache[K, V]) fresh(n *node[K, V], now int64) bool {
	return n != nil && n.fresh(now) && !c.void(n)
}

func (c *Cache[K, V]) out(v V) V {
	if c.o.Clone != nil {
		return c.o.Clone(v)
	}
	return v
}

// Get returns the value of a key from memory or from the store. It never loads: ok is
// false if there is none, or only a stale one. It returns early, with false, when ctx ends.
func (c *Cache[K, V]) Get(ctx context.Context, key K) (value V, ok bool) {
	hash := c.hash(key)
	s := c.shard(hash)
	n := c.lookup(s, hash, key)
	if c.simple(n) || n != nil && c.fresh(n, c.now()) {
		c.counts.add(memoryHit)
		return c.out(n.value), true
	}
	if c.tier == nil {
		c.counts.add(miss)
		return value, false
	}
	return c.getStored(ctx, s, hash, key)
}

// getStored is Get of what is not in memory.
func (c *Cache[K, V]) getStored(ctx context.Context, s *shard[K, V], hash uint64, key K) (value V, ok bool) {
	if n := s.absent.index.find(hash, key); c.fresh(n, c.now()) {
		c.counts.add(negativeHit)
		return value, false
	}
	sequence := c.voids.now()
	s.mu.Lock()
	e := s.begin(key)
	s.mu.Unlock()
	found := c.tier.get(ctx, key)

	s.mu.Lock()
	if s.end(key, e) && found.ok {
		c.keep(s, hash, key, found.result, sequence)
	}
	s.mu.Unlock()
	if !found.ok || found.absent {
		c.counts.add(miss)
		return value, false
	}
	c.counts.add(storeHit)
	return c.out(found.value), true
}

// Set keeps a value, here and in the store, in the place of what was there, and of what is
// being loaded now. The error is that of the codec or the store; in memory the value is
// kept all the same, and what the store has instead is not read before it could be
// deleted.
func (c *Cache[K, V]) Set(ctx context.Context, key K, value V) error {
	hash := c.hash(key)
	s := c.shard(hash)
	r := result[V]{value: c.out(value)}
	if c.tier == nil {
		s.mu.Lock()
		if len(s.calls)+len(s.errand) > 0 {
			s.overtake(key)
		}
		c.keep(s, hash, key, r, c.voids.now())
		s.mu.Unlock()
		return nil
	}
	// Of two who set at the same time nobody knows who was last in the store: then
	// nothing is kept in memory.
	sequence := c.voids.now()
	s.mu.Lock()
	s.overtake(key)
	alone := s.errand[key] == nil
	e := s.begin(key)
	e.void = !alone
	s.mu.Unlock()
	err := c.tier.set(ctx, key, r)
	s.mu.Lock()
	s.overtakeOthers(key, e)
	if s.end(key, e) {
		c.keep(s, hash, key, r, sequence)
	} else {
		s.remove(hash, key)
	}
	s.mu.Unlock()
	return errors.Join(err, c.tier.publish(ctx, c.tier.key(key)))
}

// result is what a load, a store or a caller has to say about a key.
type result[V any] struct {
	value    V
	absent   bool
	loadTime time.Duration
	ttl      time.Duration // that is left in the store, or 0

	transient bool // for those who wait, and not to be kept
}

// ttl returns how long a result is fresh, 0 for ever, and less if it is not to be kept.
func (c *Cache[K, V]) ttl(key K, r *result[V]) time.Duration {
	ttl := c.o.TTL
	switch {
	case r.absent:
		ttl = c.o.NegativeTTL
	case c.o.TTLOf != nil:
		if own := c.o.TTLOf(key, r.value); own != 0 {
			ttl = own
		}
	}
	return ttl
}

// shorten applies the jitter.
func (c *Cache[K, V]) shorten(ttl time.Duration, u float64) time.Duration {
	return ttl - time.Duration(float64(ttl)*c.o.Jitter*u)
}

// keep makes a node of a result and keeps it. It is called under the mutex of the shard.
// sequence is the last invalidation that happened before the result was asked for.
func (c *Cache[K, V]) keep(s *shard[K, V], hash uint64, key K, r result[V], sequence uint64) {
	n := &node[K, V]{key: key, value: r.value, hash: hash, look: never, weight: 1}
	ttl := c.ttl(key, &r)
	if ttl < 0 {
		s.remove(hash, key)
		return
	}
	if c.o.Weigher != nil && !r.absent {
		weight := max(c.o.Weigher(key, r.value), 1)
		if weight > math.MaxUint32 {
			s.values.refused++
			s.remove(hash, key)
			return
		}
		n.weight = uint32(weight)
	}
	ahead := r.loadTime > 0 && c.o.RefreshAhead > 0
	if ttl > 0 {
		ttl = c.shorten(ttl, s.draw())
	}
	if r.ttl > 0 && (ttl == 0 || r.ttl < ttl) {
		ttl = r.ttl
	}
	if c.tier != nil && (ttl == 0 || ttl > c.o.MemoryTTL) {
		ttl, ahead = c.o.MemoryTTL, false
	}
	var now int64
	if ttl > 0 {
		now = c.now()
		fresh := addInstant(now, ttl)
		n.look = fresh
		if !r.absent && (ahead || c.o.StaleIfError > 0) {
			n.more = &more{fresh: fresh, gone: addInstant(fresh, c.o.StaleIfError), loadTime: int64(r.loadTime)}
		}
		if ahead && !r.absent {
			// The paper draws anew each time that somebody asks. Once is as good where
			// there is one load at a time, and costs those who ask nothing.
			early := float64(r.loadTime) * c.o.RefreshAhead * -math.Log(1-s.draw())
			n.look = fresh - min(int64(min(early, float64(math.MaxInt64/2))), int64(ttl)/2)
		}
	}
	if r.absent && n.more == nil {
		n.more = &more{fresh: n.look, gone: n.look, absent: true}
	}
	c.tag(n, &r, sequence)
	s.put(n, now)
}

// keyed reports whether the keys of the store cannot be turned back into keys: each
// is then a tag of its entry.
func (c *Cache[K, V]) keyed() bool { return c.tier != nil && c.tier.keyOf == nil }

// tag notes what voids a node.
func (c *Cache[K, V]) tag(n *node[K, V], r *result[V], sequence uint64) {
	var tags []string
	if c.o.TagsOf != nil && !r.absent {
		tags = c.o.TagsOf(n.key, r.value)
	}
	keyed := c.keyed()
	if len(tags) == 0 && !keyed {
		return
	}
	if n.more == nil {
		n.more = &more{fresh: n.look, gone: n.look}
	}
	n.tagged = true
	n.more.sequence = sequence
	for _, tag := range tags {
		n.more.tags = append(n.more.tags, c.voids.slot(tagPrefix+tag))
	}
	if keyed {
		n.more.tags = append(n.more.tags, c.voids.slot(c.tier.key(n.key)))
	}
}

func addInstant(now int64, d time.Duration) int64 {
	if int64(d) > never-now {
		return never
	}
	return now + int64(d)
}

// Len returns the number of entries in memory, including those that are stale or void and
// have not been removed yet, and not those that say that there is no value.
func (c *Cache[K, V]) Len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += s.values.index.len
		s.mu.Unlock()
	}
	return n
}

// Close ends all loads and the subscription, and waits until they have ended; a loader
// that ignores its context makes it wait. What is in memory can still be read, and nothing
// more is loaded: [ErrClosed]. It may be called more than once, and never fails.
func (c *Cache[K, V]) Close() error {
	c.closing.Lock()
	c.closed = true
	c.closing.Unlock()
	c.close()
	c.running.Wait()
	if c.tier != nil && c.tier.bus != nil {
		_ = c.tier.bus.Close()
	}
	return nil
}

// enter counts a goroutine, unless the cache is closed.
func (c *Cache[K, V]) enter() bool {
	c.closing.Lock()
	defer c.closing.Unlock()
	if !c.closed {
		c.running.Add(1)
	}
	return !c.closed
}
