package httpcache

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// MemoryOptions are the settings of [NewMemory]. The zero value of each field is its
// default.
type MemoryOptions struct {
	// Budget bounds what all entries take: bodies, headers, keys and tags, in bytes. Zero
	// means 64 MiB.
	Budget int64
	// MaxVariants bounds the responses under one key, which differ by what they vary on.
	// The oldest goes. Zero means 32.
	MaxVariants int
}

// Memory keeps responses in the memory of the process, within a budget. What was not
// used for some time goes first (CLOCK, a second chance). It is safe for concurrent use.
// Use [NewMemory].
type Memory struct {
	budget   int64
	variants int
	seed     maphash.Seed
	shards   [shards]shard
	used     atomic.Int64
	next     atomic.Uint32 // shard in which room is looked for
	evicted  atomic.Uint64
	entries  atomic.Int64
	owned    atomic.Bool
	removed  func(*Entry) // set by the cache that it belongs to
}

const shards = 32

type shard struct {
	mu   sync.RWMutex
	keys map[string][]*Entry // guarded by mu; the slices are replaced, never changed
	ring []*Entry            // in order of insertion, for eviction; guarded by mu
	hand int                 // guarded by mu
	_    [64]byte
}

// NewMemory returns an empty store. Nil options are the defaults. The error names every
// field that is not valid.
func NewMemory(o *MemoryOptions) (*Memory, error) {
	if o == nil {
		o = &MemoryOptions{}
	}
	m := &Memory{budget: cmp.Or(o.Budget, 64<<20), variants: cmp.Or(o.MaxVariants, 32), seed: maphash.MakeSeed(), removed: func(*Entry) {}}
	var errs []error
	if o.Budget < 0 {
		errs = append(errs, fmt.Errorf("httpcache: MemoryOptions.Budget is %d, want >= 0", o.Budget))
	}
	if o.MaxVariants < 0 {
		errs = append(errs, fmt.Errorf("httpcache: MemoryOptions.MaxVariants is %d, want >= 0", o.MaxVariants))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for at := range m.shards {
		m.shards[at].keys = make(map[string][]*Entry)
	}
	return m, nil
}

func (m *Memory) shard(key []byte) *shard {
	return &m.shards[maphash.Bytes(m.seed, key)%shards]
}

func (m *Memory) shardOf(key string) *shard {
	return &m.shards[maphash.String(m.seed, key)%shards]
}

// get returns the responses under a key, newest first. They must not be changed.
func (m *Memory) get(key []byte) []*Entry {
	s := m.shard(key)
	s.mu.RLock()
	found := s.keys[string(key)]
	s.mu.RUnlock()
	return found
}

// putResult is what came of a put.
type putResult uint8

const (
	putDone     putResult = iota
	putTooLarge           // the entry alone is more than the budget
	putGone               // it was purged meanwhile, or what it was made from is gone
)

// put stores an entry in place of those of the same variant, and of the one that it is
// made from, if any. The flight that it comes from may be nil: whether that was purged is
// looked at under the lock under which a purge removes what is stored, so that one of the
// two sees the other.
func (m *Memory) put(e, from *Entry, f *flight) putResult {
	if e.size > m.budget {
		return putTooLarge
	}
	s := m.shardOf(e.key)
	s.mu.Lock()
	before := s.keys[e.key]
	if from != nil && !slices.Contains(before, from) || f != nil && f.doomed.Load() {
		s.mu.Unlock()
		return putGone
	}
	after := make([]*Entry, 1, len(before)+1)
	after[0] = e
	var gone []*Entry
	for _, known := range before {
		if known == from || known.division == e.division && sameVariant(known, e) || len(after) == m.variants {
			gone = append(gone, known)
		} else {
			after = append(after, known)
		}
	}
	s.keys[e.key] = after
	e.at = len(s.ring)
	s.ring = append(s.ring, e)
	for _, one := range gone {
		s.unlink(one)
	}
	s.mu.Unlock()
	m.entries.Add(int64(1 - len(gone)))
	m.used.Add(e.size)
	for _, one := range gone {
		m.used.Add(-one.size)
		m.removed(one)
	}
	m.makeRoom()
	return putDone
}

// has reports whether an entry is stored.
func (m *Memory) has(e *Entry) bool {
	s := m.shardOf(e.key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Contains(s.keys[e.key], e)
}

// remove takes out one entry, if it is there still.
func (m *Memory) remove(e *Entry) {
	s := m.shardOf(e.key)
	s.mu.Lock()
	there := slices.Contains(s.keys[e.key], e)
	if there {
		s.drop(e)
	}
	s.mu.Unlock()
	if there {
		m.forget(e)
	}
}

// sameVariant reports whether one entry is stored in place of the other. A part of a body
// never takes the place of all of it.
func sameVariant(known, e *Entry) bool {
	return sameSelectors(known.chosen, e.chosen) && (known.partial || !e.partial)
}

// unlink takes an entry out of the ring. The caller holds mu.
func (s *shard) unlink(e *Entry) {
	last := len(s.ring) - 1
	moved := s.ring[last]
	s.ring[e.at], moved.at = moved, e.at
	s.ring[last] = nil
	s.ring = s.ring[:last]
}

// makeRoom evicts entries until the rest is within the budget.
func (m *Memory) makeRoom() {
	for idle := 0; m.used.Load() > m.budget && idle < shards; {
		if m.evict(&m.shards[m.next.Add(1)%shards]) {
			idle = 0
		} else {
			idle++
		}
	}
}

// evict takes one entry out of a shard: the first that was not used since it was last
// looked at.
func (m *Memory) evict(s *shard) bool {
	s.mu.Lock()
	if len(s.ring) == 0 {
		s.mu.Unlock()
		return false
	}
	for range 2 * len(s.ring) {
		if s.hand >= len(s.ring) {
			s.hand = 0
		}
		if !s.ring[s.hand].used.Swap(false) {
			break
		}
		s.hand++
	}
	if s.hand >= len(s.ring) {
		s.hand = 0
	}
	e := s.ring[s.hand]
	s.drop(e)
	s.mu.Unlock()
	m.evicted.Add(1)
	m.forget(e)
	return true
}

// drop takes an entry out of a shard. The caller holds mu.
func (s *shard) drop(e *Entry) {
	s.unlink(e)
	left := slices.DeleteFunc(slices.Clone(s.keys[e.key]), func(known *Entry) bool { return known == e })
	if len(left) == 0 {
		delete(s.keys, e.key)
	} else {
		s.keys[e.key] = left
	}
}

// forget counts an entry that is gone.
func (m *Memory) forget(e *Entry) {
	m.entries.Add(-1)
	m.used.Add(-e.size)
	m.removed(e)
}

// removeKey takes out all entries under a key, or makes them stale, and returns how many.
func (m *Memory) removeKey(key string, soft bool) int {
	s := m.shardOf(key)
	s.mu.Lock()
	all := s.keys[key]
	if soft {
		for _, e := range all {
			e.stale.Store(true)
		}
		s.mu.Unlock()
		return len(all)
	}
	for _, e := range all {
		s.drop(e)
	}
	s.mu.Unlock()
	for _, e := range all {
		m.forget(e)
	}
	return len(all)
}

// removeWhere does so for all keys for which match reports true.
func (m *Memory) removeWhere(match func(key string) bool, soft bool) int {
	removed := 0
	for at := range m.shards {
		s := &m.shards[at]
		s.mu.RLock()
		var keys []string
		for key := range s.keys {
			if match(key) {
				keys = append(keys, key)
			}
		}
		s.mu.RUnlock()
		for _, key := range keys {
			removed += m.removeKey(key, soft)
		}
	}
	return removed
}

// prefixed returns whether a key is that of a URL whose path begins with the segments of
// a prefix.
func prefixed(key, prefix string) bool {
	rest, ok := strings.CutPrefix(key, prefix)
	return ok && (rest == "" || strings.HasSuffix(prefix, "/") || rest[0] == '/' || rest[0] == '?' || rest[0] == keyEnd)
}
