package sqlclass

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"strings"
	"sync/atomic"
)

// The shape of a Cache: each text has its set of ways places.
const (
	ways = 4
	// maxCached is the length up to which texts are remembered: longer ones hold
	// values, as a rule, and do not return.
	maxCached = 8 << 10
	// maxEntries bounds what a mistake can cost.
	maxEntries = 1 << 18
)

// Cache remembers what is known of statements by their text. It holds a fixed
// number of them; where there is no room, one that was not asked for again makes
// place, so that texts with values inside do not push out those that return. It
// is safe for concurrent use, takes no lock, and a hit allocates nothing.
type Cache[V any] struct {
	seed  maphash.Seed
	shift uint // of a hash, to the number of its set
	sets  []cacheSet[V]
}

type cacheSet[V any] [ways]atomic.Pointer[entry[V]]

type entry[V any] struct {
	query string
	value V
	asked atomic.Bool // since it was last passed over
}

// NewCache returns a cache of at least the given number of texts, rounded up to
// a power of two; each is of at most 8 KiB, longer ones are not remembered.
func NewCache[V any](entries int) (*Cache[V], error) {
	if entries < 1 || entries > maxEntries {
		return nil, fmt.Errorf("sqlclass: entries is %d, want 1 to %d", entries, maxEntries)
	}
	log := bits.Len(uint((entries+ways-1)/ways - 1))
	return &Cache[V]{
		seed:  maphash.MakeSeed(),
		shift: 64 - uint(log),
		sets:  make([]cacheSet[V], 1<<log),
	}, nil
}

// Get returns what is remembered of a statement.
func (c *Cache[V]) Get(query string) (value V, ok bool) {
	if len(query) > maxCached {
		return value, false
	}
	set := &c.sets[maphash.String(c.seed, query)>>c.shift]
	for i := range set {
		if e := set[i].Load(); e != nil && e.query == query {
			if !e.asked.Load() {
				e.asked.Store(true)
			}
			return e.value, true
		}
	}
	return value, false
}

// Set remembers a statement, in place of what was known of it, or in an empty
// place, or in that of any that was not asked for again. Of two that come at
// once one may be forgotten.
func (c *Cache[V]) Set(query string, value V) {
	if len(query) > maxCached {
		return
	}
	hash := maphash.String(c.seed, query)
	set := &c.sets[hash>>c.shift]
	place := -1
	for i := range uint64(ways) {
		// The low bits of the hash are as good as chance: a newcomer stays a while, in
		// which it may be asked for.
		i = (i + hash) % ways
		e := set[i].Load()
		if e != nil && e.query == query {
			place = int(i)
			break
		}
		if place < 0 && (e == nil || !e.asked.Load()) {
			place = int(i)
		}
	}
	if place < 0 {
		place = int(hash % ways)
		for i := range set {
			if e := set[i].Load(); e != nil {
				e.asked.Store(false)
			}
		}
	}
	// The text may be a piece of something larger, which it must not keep alive.
	set[place].Store(&entry[V]{query: strings.Clone(query), value: value})
}
