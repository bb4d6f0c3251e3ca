package cache

import (
	"math"
	"sync"
	"sync/atomic"
)

// shard is the part of a cache whose keys have certain hashes: the entries, and who is
// about to bring more of them. Readers of values find them without the mutex.
type shard[K comparable, V any] struct {
	mu     sync.Mutex
	values room[K, V] // changed under mu
	absent room[K, V] // of entries that say that there is no value; changed under mu

	calls  map[K]*call[V] // loads in progress that others may join; guarded by mu
	errand map[K]*errand  // others who are about to bring a value; guarded by mu
	duel   *duel[K, V]    // nil unless the policy is adaptive; guarded by mu, but for being nil
	full   atomic.Bool    // something was evicted, so that there is something to win; set under mu
	locked atomic.Bool    // hits take mu; changed under mu
	random uint64         // guarded by mu

	_ [64]byte // no two shards in one cache line
}

// errand is somebody on the way to bring the value of a key into memory. What others do
// to the key meanwhile voids it: the value is then not kept, since it may be the older one.
type errand struct {
	void bool    // guarded by the mutex of the shard
	next *errand // for the same key
}

// begin sets out. It is called under mu.
func (s *shard[K, V]) begin(key K) *errand {
	e := &errand{next: s.errand[key]}
	if s.errand == nil {
		s.errand = make(map[K]*errand)
	}
	s.errand[key] = e
	return e
}

// end arrives, and reports whether the errand was not voided. It is called under mu.
func (s *shard[K, V]) end(key K, e *errand) bool {
	if first := s.errand[key]; first != e {
		for before := first; ; before = before.next {
			if before.next == e {
				before.next = e.next
				break
			}
		}
	} else if e.next != nil {
		s.errand[key] = e.next
	} else {
		delete(s.errand, key)
	}
	return !e.void
}

// overtake voids all who are on their way with a value of a key. It is called under mu.
func (s *shard[K, V]) overtake(key K) {
	if c := s.calls[key]; c != nil {
		c.void = true
		delete(s.calls, key)
	}
	for e := s.errand[key]; e != nil; e = e.next {
		e.void = true
	}
}

// overtakeOthers is overtake by one who is on an errand himself.
func (s *shard[K, V]) overtakeOthers(key K, e *errand) {
	void := e.void
	s.overtake(key)
	e.void = void
}

// draw returns a number from 0 up to 1. It is called under mu.
func (s *shard[K, V]) draw() float64 {
	s.random = mix(s.random)
	return float64(s.random>>11) / (1 << 53)
}

// remove forgets a key. It is called under mu.
func (s *shard[K, V]) remove(hash uint64, key K) {
	s.values.removeKey(hash, key)
	s.absent.removeKey(hash, key)
}

// put keeps a node, or else nothing of its key. It is called under mu.
func (s *shard[K, V]) put(n *node[K, V], now int64) bool {
	to, other := &s.values, &s.absent
	if n.more != nil && n.more.absent {
		to, other = other, to
	}
	other.removeKey(n.hash, n.key)
	kept := to.put(n, now)
	if s.values.evicted > 0 && !s.full.Load() {
		s.full.Store(true)
	}
	return kept
}

// lookupLocked asks for the node of a key where hits take the mutex.
func (s *shard[K, V]) lookupLocked(hash uint64, key K) *node[K, V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.values.index.find(hash, key)
	if n == nil {
		s.values.policy.miss(hash)
	} else {
		s.values.policy.hit(n)
	}
	if s.sampled(hash) {
		s.play(hash)
	}
	return n
}

// sampled reports whether the duel is to be told of a key.
func (s *shard[K, V]) sampled(hash uint64) bool {
	return isSampled(hash) && s.duel != nil && s.full.Load()
}

// play is told of a sampled key that was asked for. It is called under mu.
func (s *shard[K, V]) play(hash uint64) {
	if s.duel.play(hash) {
		to := []Policy{S3FIFO, TinyLFU}[s.duel.active]
		s.values.change(maker[K, V](to))
		s.locked.Store(to == TinyLFU)
	}
}

// clear forgets everything, and voids all who are on their way. It is called under mu.
func (s *shard[K, V]) clear() {
	for _, c := range s.calls {
		c.void = true
	}
	s.calls = nil
	for _, e := range s.errand {
		for ; e != nil; e = e.next {
			e.void = true
		}
	}
	s.values.clear()
	s.absent.clear()
}

// room is entries under one bound, in an order of merit. It is changed by one goroutine
// at a time.
type room[K comparable, V any] struct {
	index      index[K, V]
	policy     policy[K, V]
	order      func(most int) policy[K, V] // makes the policy
	most       int
	mostWeight int64
	weight     int64

	expires bool   // some entries do
	inserts uint64 // since the beginning
	evicted uint64 // to make room, before their time
	expired uint64
	refused uint64 // heavier than the bound
}

func (r *room[K, V]) init(order func(most int) policy[K, V], most int, mostWeight int64) {
	r.order, r.most, r.mostWeight = order, most, mostWeight
	if mostWeight == 0 {
		r.mostWeight = math.MaxInt64
	}
	r.clear()
}

func (r *room[K, V]) clear() {
	r.weight = 0
	r.policy = r.order(r.most)
	r.index.reset(r.most)
}

// sweepEvery is how many entries come for each bucket, of up to seven entries, in which
// those that are gone are looked for: none stays for longer than it takes to bring about
// three times as many as there are.
const sweepEvery = 16

// put keeps a node, in the place of that of the same key. If it is too heavy, nothing of
// its key is kept, and put returns false.
func (r *room[K, V]) put(n *node[K, V], now int64) bool {
	old := r.index.find(n.hash, n.key)
	if int64(n.weight) > r.mostWeight {
		r.refused++
		if old != nil {
			r.remove(old)
		}
		return false
	}
	if n.look != never && !r.expires {
		r.expires = true
	}
	for old != nil && r.weight+int64(n.weight)-int64(old.weight) > r.mostWeight {
		if r.evict(now) == old {
			old = nil
		}
	}
	if old != nil {
		r.policy.replace(old, n)
		r.index.replace(old, n)
		r.weight += int64(n.weight) - int64(old.weight)
		return true
	}
	for r.index.len >= r.most || r.weight+int64(n.weight) > r.mostWeight {
		r.evict(now)
	}
	r.weight += int64(n.weight)
	r.policy.insert(n)
	r.index.insert(n)
	if r.inserts++; r.expires && r.inserts%sweepEvery == 0 {
		r.index.bucketAt(r.inserts/sweepEvery, func(n *node[K, V]) {
			if n.gone(now) {
				r.remove(n)
				r.expired++
			}
		})
	}
	return true
}

func (r *room[K, V]) evict(now int64) *node[K, V] {
	n := r.policy.evict(now)
	r.index.remove(n)
	r.weight -= int64(n.weight)
	if n.gone(now) {
		r.expired++
	} else {
		r.evicted++
	}
	return n
}

func (r *room[K, V]) remove(n *node[K, V]) {
	r.policy.remove(n)
	r.index.remove(n)
	r.weight -= int64(n.weight)
}

func (r *room[K, V]) removeKey(hash uint64, key K) {
	if r.index.len == 0 {
		return
	}
	if n := r.index.find(hash, key); n != nil {
		r.remove(n)
	}
}
