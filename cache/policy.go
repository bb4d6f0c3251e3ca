package cache

import "fmt"

// Policy says which entries stay when there are more than fit.
type Policy uint8

const (
	// Adaptive is S3FIFO, and TinyLFU for as long as a sample of the keys shows that it
	// would serve more, as it does in loops that are larger than the cache. Each shard of
	// 1024 entries or more finds that out for itself. It is the default.
	Adaptive Policy = iota
	// S3FIFO keeps what is asked for more than once soon after it came: Yang et al.,
	// FIFO Queues are All You Need for Cache Eviction, SOSP 2023. Hits move nothing and
	// take no lock.
	S3FIFO
	// TinyLFU keeps what is asked for most often, by a sketch that ages, behind a window
	// for what is new, of a size that adapts: Einziger, Eytan, Friedman and Manes,
	// Adaptive Software Cache Management, Middleware 2018. It withstands scans and loops
	// that are larger than the cache. Hits take a lock.
	TinyLFU
	// LRU keeps what was asked for last, as many expect of a cache. Hits take a lock.
	LRU
)

func (p Policy) String() string {
	switch p {
	case Adaptive:
		return "adaptive"
	case S3FIFO:
		return "S3-FIFO"
	case TinyLFU:
		return "W-TinyLFU"
	case LRU:
		return "LRU"
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// policy orders the nodes of one shard. Its methods are called under the mutex of the
// shard, but for the hits of one that says so.
type policy[K comparable, V any] interface {
	// hit is told of a node that was asked for.
	hit(n *node[K, V])
	// miss is told of the hash of a key that was asked for and is not there.
	miss(hash uint64)
	// insert adds a node. There is room.
	insert(n *node[K, V])
	// replace puts a node in the place of another of the same key.
	replace(old, n *node[K, V])
	// remove removes a node for reasons of others.
	remove(n *node[K, V])
	// evict removes and returns the node that has to go first so that another can come.
	// There is one. What is gone at now goes whatever its merits.
	evict(now int64) *node[K, V]
}

// maker returns what makes a policy for at most so many nodes.
func maker[K comparable, V any](p Policy) func(most int) policy[K, V] {
	switch p {
	case TinyLFU:
		return newTinyLFU[K, V]
	case LRU:
		return newLRU[K, V]
	default:
		return newFIFO[K, V]
	}
}
