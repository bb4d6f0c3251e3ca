package shard

import (
	"math/bits"

	"github.com/uprung/uprung/internal/splitmix"
)

// Rendezvous is weighted rendezvous hashing, or highest random weight (Thaler and
// Ravishankar, IEEE/ACM Transactions on Networking 6(1), 1998; weights by the
// logarithmic method of Schindelhauer and Schomaker, SPAA 2005): every node draws a
// number from each key, and the best draw wins.
//
// Its shares are as equal as chance allows, every node's place in the order of
// preference is as random as the first, and a node that comes, goes or changes
// its weight moves keys only to or from itself. A lookup asks every node: use it up
// to some dozens. Memory is 8 bytes for each node, and 8 KB more if weights differ.
// A Rendezvous is immutable and safe for concurrent use.
type Rendezvous struct {
	nodes  []Node
	hashes []uint64 // of the IDs
	logs   []uint64 // nil if all weights are equal
}

// NewRendezvous makes a table of nodes. The error names every node that is wrong.
func NewRendezvous(nodes []Node) (*Rendezvous, error) {
	nodes, err := checked(nodes)
	if err != nil {
		return nil, err
	}
	r := &Rendezvous{nodes: nodes, hashes: make([]uint64, len(nodes))}
	for i, n := range nodes {
		r.hashes[i] = Hash(n.ID)
	}
	if !equalWeights(nodes) {
		r.logs = logTable()
	}
	return r, nil
}

// Nodes returns the nodes sorted by ID.
func (r *Rendezvous) Nodes() []Node { return r.nodes }

// Lookup returns the node of a hash.
func (r *Rendezvous) Lookup(hash uint64) int {
	if r.logs != nil {
		best := r.bid(hash, 0)
		for i := 1; i < len(r.hashes); i++ {
			if b := r.bid(hash, i); b.beats(best) {
				best = b
			}
		}
		return best.node
	}
	best, highest := 0, uint64(0)
	for i, h := range r.hashes {
		if draw := splitmix.Mix(hash ^ h); draw > highest {
			best, highest = i, draw
		}
	}
	return best
}

// bid is what a node offers for a key.
type bid struct {
	draw   uint64 // a random number of the key and the node
	cost   uint64 // falls as draw rises; the same for all if weights are equal
	weight uint64
	node   int
}

func (r *Rendezvous) bid(hash uint64, node int) bid {
	b := bid{draw: splitmix.Mix(hash ^ r.hashes[node]), node: node}
	if r.logs != nil {
		b.cost = cost(r.logs, b.draw)
		b.weight = uint64(r.nodes[node].Weight)
	}
	return b
}

// beats compares cost / weight, then the draws, then the nodes. A cost is below
// 1<<47 and a weight below 1<<16.
func (b bid) beats(other bid) bool {
	if x, y := b.cost*other.weight, other.cost*b.weight; x != y {
		return x < y
	}
	if b.draw != other.draw {
		return b.draw > other.draw
	}
	return b.node < other.node
}

const (
	logBits = 40   // after the binary point, of a logarithm
	logKnot = 1024 // straight lines between a power of two and the next
)

// logTable returns 1 - log2(1 + i/1024) for i from 0 to 1024, times 1<<40, rounded
// up, so that a lookup needs integers only: the logarithms of floating point differ
// in their last bits from one processor and one language to another.
func logTable() []uint64 {
	table := make([]uint64, logKnot+1)
	for i := range logKnot {
		// The digits of log2 of x, 1 <= x < 2, one by one: squaring x doubles it.
		x := 1<<63 + uint64(i)<<(63-10)
		log := uint64(0)
		for range logBits {
			x, _ = bits.Mul64(x, x)
			log <<= 1
			if x >= 1<<63 {
				log++
			} else {
				x <<= 1
			}
		}
		table[i] = 1<<logBits - log
	}
	return table
}

// cost returns -log2(draw / 1<<64), times 1<<40, within 0.03 percent: an
// exponentially distributed number, the least of which, each divided by its weight,
// is a node's with a probability in proportion to that weight.
func cost(table []uint64, draw uint64) uint64 {
	zeros := bits.LeadingZeros64(draw)
	draw <<= zeros
	knot := draw >> 53 & (logKnot - 1)
	high, low := table[knot], table[knot+1]
	part := draw >> 21 & (1<<32 - 1)
	return uint64(zeros)<<logBits + high - (high-low)*part>>32
}

// Walk yields the nodes in the order of their draws. It computes the first 8 in
// one pass over the nodes, and 256 in each pass that follows.
func (r *Rendezvous) Walk(hash uint64, yield func(node int) bool) {
	var bids [256]bid
	var last bid
	for done, limit := 0, 8; done < len(r.nodes); limit = len(bids) {
		// The best bids that are worse than those yielded: a heap, the worst of them
		// at the root.
		heap := bids[:0]
		for i := range r.nodes {
			b := r.bid(hash, i)
			switch {
			case done > 0 && !last.beats(b):
			case len(heap) < limit:
				heap = append(heap, b)
				for at := len(heap) - 1; at > 0; {
					parent := (at - 1) / 2
					if !worse(heap[at], heap[parent]) {
						break
					}
					heap[at], heap[parent] = heap[parent], heap[at]
					at = parent
				}
			case b.beats(heap[0]):
				heap[0] = b
				siftDown(heap, worse)
			}
		}
		last = heap[0]
		for end := len(heap) - 1; end > 0; end-- {
			heap[0], heap[end] = heap[end], heap[0]
			siftDown(heap[:end], worse)
		}
		for _, b := range heap {
			if !yield(b.node) {
				return
			}
		}
		done += len(heap)
	}
}

func worse(a, b bid) bool { return b.beats(a) }
