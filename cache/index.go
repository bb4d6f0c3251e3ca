package cache

import (
	"math/bits"
	"sync/atomic"
)

// index finds nodes by key, without a lock. One goroutine at a time changes it.
//
// It is a table of buckets of a cache line each: seven nodes, and a word with a byte of
// the hash of each of them, so that a look-up that fails touches one line, and one that
// succeeds another for the node. Who finds no room in the bucket of its hash goes to the
// next, and is counted by each bucket that it passed: a reader stops where nobody has
// passed. Nodes never move but to a larger table, so that a reader cannot miss one.
type index[K comparable, V any] struct {
	table atomic.Pointer[[]bucket[K, V]]
	len   int
	most  int // nodes that there will ever be
}

const slotsPerBucket = 7

// bucket is 64 bytes.
type bucket[K comparable, V any] struct {
	// marks has a byte for each slot, zero if it is empty, and in the highest byte the
	// number of nodes that have passed. Once it is 255 it stays.
	marks atomic.Uint64
	slots [slotsPerBucket]atomic.Pointer[node[K, V]]
}

const (
	eachSlot     = 0x00_01010101010101
	passedShift  = 56
	passedOne    = 1 << passedShift
	passedMost   = 255
	firstBuckets = 2
)

// markOf returns the byte for a hash, which is not zero. The bucket comes of the lowest
// bits and the shard of the highest, so that the byte is of those between.
func markOf(hash uint64) uint64 { return max(1, hash>>32&0xff) }

func home(hash uint64, buckets int) int {
	high, _ := bits.Mul64(hash<<32, uint64(buckets))
	return int(high)
}

// matches has the highest bit set of each byte of marks, at least, that is mark.
func matches(marks, mark uint64) uint64 {
	x := marks ^ mark*eachSlot
	return (x - eachSlot) &^ x & (eachSlot << 7)
}

func (x *index[K, V]) reset(most int) {
	x.len, x.most = 0, most
	x.table.Store(new(make([]bucket[K, V], min(firstBuckets, x.mostBuckets()))))
}

// mostBuckets is the size of the table for the most nodes, of which 5.6 are then in a
// bucket on average.
func (x *index[K, V]) mostBuckets() int { return x.most*5/28 + 1 }

// find returns the node of a key, or nil. It is safe at any time.
func (x *index[K, V]) find(hash uint64, key K) *node[K, V] {
	table := *x.table.Load()
	mark := markOf(hash)
	at := home(hash, len(table))
	for range table {
		b := &table[at]
		marks := b.marks.Load()
		for m := matches(marks, mark); m != 0; m &= m - 1 {
			n := b.slots[bits.TrailingZeros64(m)>>3].Load()
			if n != nil && n.hash == hash && n.key == key {
				return n
			}
		}
		if marks>>passedShift == 0 {
			return nil
		}
		if at++; at == len(table) {
			at = 0
		}
	}
	return nil
}

// insert adds a node whose key is not there.
func (x *index[K, V]) insert(n *node[K, V]) {
	table := *x.table.Load()
	if x.len*5 >= len(table)*28 {
		table = x.grow(table)
	}
	place(table, n)
	x.len++
}

func (x *index[K, V]) grow(old []bucket[K, V]) []bucket[K, V] {
	// The last table has room for all, even if most is too few by a bucket.
	table := make([]bucket[K, V], max(len(old)+1, min(2*len(old), x.mostBuckets())))
	for i := range old {
		for j := range old[i].slots {
			if n := old[i].slots[j].Load(); n != nil {
				place(table, n)
			}
		}
	}
	x.table.Store(&table)
	return table
}

// place puts a node into the first free slot from its home on. There is one.
func place[K comparable, V any](table []bucket[K, V], n *node[K, V]) {
	at := home(n.hash, len(table))
	for {
		b := &table[at]
		marks := b.marks.Load()
		if free := matches(marks, 0); free != 0 {
			i := bits.TrailingZeros64(free) >> 3
			b.slots[i].Store(n)
			b.marks.Store(marks | markOf(n.hash)<<(8*i))
			return
		}
		if marks>>passedShift < passedMost {
			b.marks.Store(marks + passedOne)
		}
		if at++; at == len(table) {
			at = 0
		}
	}
}

// slot returns where a node is, and from where on it looked for a place. It is there.
func (x *index[K, V]) slot(n *node[K, V]) (table []bucket[K, V], from, at, i int) {
	table = *x.table.Load()
	from = home(n.hash, len(table))
	for at = from; ; {
		for m := matches(table[at].marks.Load(), markOf(n.hash)); m != 0; m &= m - 1 {
			i = bits.TrailingZeros64(m) >> 3
			if table[at].slots[i].Load() == n {
				return table, from, at, i
			}
		}
		if at++; at == len(table) {
			at = 0
		}
	}
}

// replace puts a node in the place of another one of the same key.
func (x *index[K, V]) replace(old, n *node[K, V]) {
	table, _, at, i := x.slot(old)
	table[at].slots[i].Store(n)
}

// remove removes a node that is there.
func (x *index[K, V]) remove(n *node[K, V]) {
	table, from, at, i := x.slot(n)
	b := &table[at]
	b.slots[i].Store(nil)
	b.marks.Store(b.marks.Load() &^ (0xff << (8 * i)))
	for passed := from; passed != at; {
		marks := table[passed].marks.Load()
		if marks>>passedShift < passedMost {
			table[passed].marks.Store(marks - passedOne)
		}
		if passed++; passed == len(table) {
			passed = 0
		}
	}
	x.len--
}

// bucketAt returns the nodes of one bucket, by a number that is taken modulo the number
// of buckets.
func (x *index[K, V]) bucketAt(number uint64, yield func(*node[K, V])) {
	table := *x.table.Load()
	b := &table[number%uint64(len(table))]
	for i := range b.slots {
		if n := b.slots[i].Load(); n != nil {
			yield(n)
		}
	}
}

// all yields all nodes that are there throughout.
func (x *index[K, V]) all(yield func(*node[K, V]) bool) {
	table := *x.table.Load()
	for i := range table {
		for j := range table[i].slots {
			if n := table[i].slots[j].Load(); n != nil && !yield(n) {
				return
			}
		}
	}
}
