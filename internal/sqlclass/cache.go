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
	maxCached = 4 << 10
	// maxEntries keeps the largest cache below a gigabyte of texts.
	maxEntries = 1 << 18
)

// Cache remembers what statements do, by their text. It holds a fixed number of
// them; where there is no room, one that was not asked for again makes place, so
// that texts with values inside do not push out those that return. It is safe for
// concurrent use, takes no lock, and a hit allocates nothing.
type Cache struct {
	classifier *Classifier
	seed       maphash.Seed
	shift      uint // of a hash, to the number of its set
	sets       [][ways]atomic.Pointer[entry]
}

type entry struct {
	query     string
	statement Statement
	asked     atomic.Bool // since it was last passed over
}

// NewCache returns a cache of at least the given number of texts, rounded up to
// a power of two; each is of at most 4 KiB, longer ones are classified each time.
func NewCache(c *Classifier, entries int) (*Cache, error) {
	if entries < 1 || entries > maxEntries {
		return nil, fmt.Errorf("sqlclass: entries is %d, want 1 to %d", entries, maxEntries)
	}
	log := bits.Len(uint((entries+ways-1)/ways - 1))
	return &Cache{
		classifier: c,
		seed:       maphash.MakeSeed(),
		shift:      64 - uint(log),
		sets:       make([][ways]atomic.Pointer[entry], 1<<log),
	}, nil
}

// Classify tells what a statement does, from memory if it can.
func (c *Cache) Classify(query string) Statement {
	hash := maphash.String(c.seed, query)
	set := &c.sets[hash>>c.shift]
	for i := range set {
		if e := set[i].Load(); e != nil && e.query == query {
			if !e.asked.Load() {
				e.asked.Store(true)
			}
			return e.statement
		}
	}
	s := c.classifier.Classify(query)
	c.put(hash, query, s)
	return s
}

// Learn remembers that a statement taken for a read was refused by a replica: it
// is a Write from now on, until it makes place for another.
func (c *Cache) Learn(query string) {
	s := c.Classify(query)
	s.Class, s.Reason, s.Hint = Write, ByFunction, NoHint
	c.put(maphash.String(c.seed, query), query, s)
}

// put stores what a statement does in a place of its set: its own, an empty one,
// or that of one that was not asked for again, any of them by chance. Two that
// store at once may take the same place: then one of them is forgotten.
func (c *Cache) put(hash uint64, query string, s Statement) {
	if len(query) > maxCached {
		return
	}
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
	set[place].Store(&entry{query: strings.Clone(query), statement: s})
}
