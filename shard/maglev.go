package shard

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/uprung/uprung/internal/splitmix"
)

const (
	// defaultSize is the small table size of the Maglev paper, section 5.3.
	defaultSize = 65537
	// maxSize bounds the memory of a table to 32 MB.
	maxSize = 1 << 24
)

// MaglevOptions are the settings of [NewMaglev]. The zero value of each field is
// its default.
type MaglevOptions struct {
	// Size is the number of entries of the table, a prime of at most 1<<24 and not
	// less than the number of nodes. Zero means 65537, whatever the number of nodes:
	// another size is another table, in which nearly every key moves, so choose it
	// once, at least a hundred times the largest number of nodes that there will be.
	// 655373 is another good one.
	Size int
}

// Maglev is the lookup table of Google's network load balancer (Eisenbud et al.,
// NSDI 2016, section 3.4): every node has a permutation of the table's entries,
// which follows from its ID, and in turn takes the next one of its own that is
// free. A node of weight w has w turns for each turn of a node of weight 1.
//
// Lookups are the fastest there are and the nodes' shares nearly equal, for a
// price: when a node comes or goes, some keys move between the others too, in all
// 1.03 times the least possible with 10 nodes, 1.6 times with 100 and 7 times with
// 1000 (at 65537 entries). Memory is 2 bytes for each entry, 128 KB by default. A
// Maglev is immutable and safe for concurrent use.
type Maglev struct {
	nodes []Node
	table []uint16
}

// NewMaglev makes a table of nodes. Nil options mean the defaults. The error names
// every node and setting that is wrong.
func NewMaglev(nodes []Node, o *MaglevOptions) (*Maglev, error) {
	size := defaultSize
	if o != nil && o.Size != 0 {
		size = o.Size
	}
	var optionErr error
	if size < 2 || size > maxSize || !prime(size) {
		optionErr = fmt.Errorf("shard: MaglevOptions.Size is %d, want a prime of at most %d", size, maxSize)
	} else if size < len(nodes) {
		optionErr = fmt.Errorf("shard: MaglevOptions.Size is %d, want at least the number of nodes, %d", size, len(nodes))
	}
	nodes, err := checked(nodes)
	if err = errors.Join(err, optionErr); err != nil {
		return nil, err
	}
	m := &Maglev{nodes: nodes, table: make([]uint16, size)}
	m.fill()
	return m, nil
}

// prime reports whether n, at least 2, has no divisor but itself and 1.
func prime(n int) bool {
	for d := 2; d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

// permutation is a node's order of the entries: next, next+skip, next+2*skip and
// so on, modulo the size. That visits all, because the size is prime.
type permutation struct {
	next, skip uint32
	turns      int64 // that the node has had
}

func (m *Maglev) fill() {
	size := uint64(len(m.table))
	orders := make([]permutation, len(m.nodes))
	for i, n := range m.nodes {
		h := Hash(n.ID)
		orders[i] = permutation{next: uint32(h % size), skip: uint32(splitmix.Mix(h)%(size-1) + 1)}
	}
	taken := make([]bool, size)
	take := func(node int) {
		o := &orders[node]
		for taken[o.next] {
			o.step(uint32(size))
		}
		taken[o.next] = true
		m.table[o.next] = uint16(node)
		o.step(uint32(size))
		o.turns++
	}
	if equalWeights(m.nodes) {
		for i, node := 0, 0; i < len(m.table); i++ {
			take(node)
			if node++; node == len(m.nodes) {
				node = 0
			}
		}
		return
	}
	// The turns of a node of weight w are at the times 0, 1/w, 2/w and so on. Those
	// at one time are in the order of the nodes, as they are above.
	earlier := func(a, b int) bool {
		return cmp.Or(
			cmp.Compare(orders[a].turns*int64(m.nodes[b].Weight), orders[b].turns*int64(m.nodes[a].Weight)),
			cmp.Compare(a, b),
		) < 0
	}
	queue := make([]int, len(m.nodes)) // a heap
	for i := range queue {
		queue[i] = i
	}
	for range m.table {
		take(queue[0])
		siftDown(queue, earlier)
	}
}

func (o *permutation) step(size uint32) {
	if o.next += o.skip; o.next >= size {
		o.next -= size
	}
}

// siftDown restores a binary heap after its root has changed. before says which of
// two elements belongs nearer to the root.
func siftDown[T any](heap []T, before func(a, b T) bool) {
	for at := 0; ; {
		child := 2*at + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && before(heap[child+1], heap[child]) {
			child++
		}
		if !before(heap[child], heap[at]) {
			return
		}
		heap[at], heap[child] = heap[child], heap[at]
		at = child
	}
}

// Nodes returns the nodes sorted by ID.
func (m *Maglev) Nodes() []Node { return m.nodes }

// Lookup returns the node of a hash.
func (m *Maglev) Lookup(hash uint64) int { return int(m.table[scale(hash, len(m.table))]) }

// Walk yields the nodes in the order in which they follow in the table.
func (m *Maglev) Walk(hash uint64, yield func(node int) bool) {
	walkOwners(m.table, scale(hash, len(m.table)), len(m.nodes), yield)
}
