package cache

import (
	"math"
	"sync/atomic"
)

// node is an entry. What readers look at without a lock never changes: an entry that is
// set again gets a new node, in the place of the old one.
type node[K comparable, V any] struct {
	key   K
	value V
	hash  uint64

	// look is the instant from which a reader has to look closer: the entry is to be
	// refreshed, stale or gone. Never, if it does not expire.
	look int64

	// more is what few readers need. Nil if there is nothing.
	more *more

	prev, next *node[K, V] // in the list of the queue; guarded by the mutex of the shard

	freq   atomic.Uint32 // of S3-FIFO: hits since it was last considered, at most 3
	weight uint32        // counts against the bound
	queue  queue         // guarded by the mutex of the shard
	tagged bool          // more has tags
}

// more is the rest of an entry. It never changes.
type more struct {
	fresh    int64    // the instant at which it is stale
	gone     int64    // the instant from which it is of no use even if loading fails
	absent   bool     // it says that there is no value
	loadTime int64    // how long it took to load, or 0
	tags     []uint32 // slots of its tags
	sequence uint64   // of the invalidation of tags, when its load began
}

// never is an instant that does not come: an entry that has it does not expire.
const never = math.MaxInt64

// gone reports whether an entry is of no more use to anybody.
func (n *node[K, V]) gone(now int64) bool {
	return now >= n.look && (n.more == nil || now >= n.more.gone)
}

// fresh reports whether an entry may be served as it is.
func (n *node[K, V]) fresh(now int64) bool {
	return now < n.look || n.more != nil && now < n.more.fresh
}

// queue is the list in which a node is.
type queue uint8

const (
	nowhere queue = iota // not in the cache, or no longer
	small                // of S3-FIFO
	big                  // of S3-FIFO
	window               // of W-TinyLFU
	probation
	protected
	recent // of LRU
)

// list is a doubly linked list of nodes, from the newest, at the front, to the oldest.
// The nodes themselves are its links.
type list[K comparable, V any] struct {
	front, back *node[K, V]
	len         int
	weight      int64
}

func (l *list[K, V]) pushFront(n *node[K, V], q queue) {
	n.queue = q
	n.prev, n.next = nil, l.front
	if l.front != nil {
		l.front.prev = n
	} else {
		l.back = n
	}
	l.front = n
	l.len++
	l.weight += int64(n.weight)
}

func (l *list[K, V]) remove(n *node[K, V]) {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		l.front = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	} else {
		l.back = n.prev
	}
	n.prev, n.next, n.queue = nil, nil, nowhere
	l.len--
	l.weight -= int64(n.weight)
}

// replace puts one node in the place of another.
func (l *list[K, V]) replace(old, n *node[K, V]) {
	n.prev, n.next, n.queue = old.prev, old.next, old.queue
	if n.prev != nil {
		n.prev.next = n
	} else {
		l.front = n
	}
	if n.next != nil {
		n.next.prev = n
	} else {
		l.back = n
	}
	old.prev, old.next, old.queue = nil, nil, nowhere
	l.weight += int64(n.weight) - int64(old.weight)
}

func (l *list[K, V]) moveToFront(n *node[K, V]) {
	if l.front != n {
		q := n.queue
		l.remove(n)
		l.pushFront(n, q)
	}
}
