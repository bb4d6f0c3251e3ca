package shard

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/uprung/uprung/internal/splitmix"
)

// Jump is jump consistent hashing (Lamping and Veach, arXiv:1406.2294, 2014): of
// nodes that are numbered, a key jumps from one to a later one until the next jump
// would lead beyond the last. It has no table at all and shares as equal as chance
// allows.
//
// It only grows and shrinks at the end: a node that is added as the last takes from
// every other what it should have, and when the last is removed, the same keys go
// back; to remove any other renumbers those after it and moves most of their keys.
// It suits numbered shards that are never taken away, and not servers that come and
// go. It has no weights.
//
// Nodes are numbered by the length of their IDs and, at one length, in the order of
// their IDs, so that shard-10 follows shard-9. [Jump.Add] and [Jump.Remove] refuse
// what would move keys between nodes that stay. A Jump is immutable and safe for
// concurrent use.
type Jump struct {
	nodes []Node
	order []uint16 // number of a node to its index
}

// NewJump makes a table of nodes, whose weights are 0 or 1. It knows nothing of an
// earlier table: Add and Remove refuse what would move keys between nodes that stay, and
// NewJump does not. The error names every node that is wrong.
func NewJump(nodes []Node) (*Jump, error) {
	var errs []error
	for i, n := range nodes {
		if n.Weight > 1 && n.Weight <= MaxWeight {
			errs = append(errs, fmt.Errorf("shard: nodes[%d].Weight is %d, want 0 or 1: a Jump has no weights", i, n.Weight))
		}
	}
	nodes, err := checked(nodes)
	if err = errors.Join(err, errors.Join(errs...)); err != nil {
		return nil, err
	}
	j := &Jump{nodes: nodes, order: make([]uint16, len(nodes))}
	for i := range j.order {
		j.order[i] = uint16(i)
	}
	// Of one length, they are in the order of their IDs already.
	slices.SortStableFunc(j.order, func(a, b uint16) int {
		return cmp.Compare(len(nodes[a].ID), len(nodes[b].ID))
	})
	return j, nil
}

// Nodes returns the nodes sorted by ID, which is not always the order of their
// numbers.
func (j *Jump) Nodes() []Node { return j.nodes }

// Lookup returns the node of a hash.
func (j *Jump) Lookup(hash uint64) int { return int(j.order[jump(hash, len(j.order))]) }

// jump returns the number of a hash among n, as in figure 1 of the paper.
func jump(hash uint64, n int) int {
	number, next := int64(-1), int64(0)
	for next < int64(n) {
		number = next
		hash = hash*2862933555777941757 + 1
		next = int64(float64(number+1) * (float64(1<<31) / float64(hash>>33+1)))
	}
	return int(number)
}

// Walk yields the node of the hash, then the nodes of hashes that follow from it,
// until after two for each node those that are missing come in the order of their
// IDs.
func (j *Jump) Walk(hash uint64, yield func(node int) bool) {
	if !yield(j.Lookup(hash)) || len(j.nodes) == 1 {
		return
	}
	if len(j.nodes) > smallSet {
		j.walkMany(hash, yield)
		return
	}
	var seen [smallSet / 64]uint64
	j.walkOthers(hash, seen[:], yield)
}

// walkMany is apart so that the frames of small walks stay small.
//
//go:noinline
func (j *Jump) walkMany(hash uint64, yield func(node int) bool) {
	var seen [MaxNodes / 64]uint64
	j.walkOthers(hash, seen[:], yield)
}

func (j *Jump) walkOthers(hash uint64, seen nodeSet, yield func(node int) bool) {
	seen.add(j.Lookup(hash))
	for range 2 * len(j.nodes) {
		hash += splitmix.Phi
		if node := j.Lookup(splitmix.Mix(hash)); seen.add(node) && !yield(node) {
			return
		}
	}
	walkRest(len(j.nodes), seen, yield)
}

// Add returns a table that has one node more. It is an error if the node would not
// become the last: see [Jump] for the order.
func (j *Jump) Add(node Node) (*Jump, error) {
	if last := j.last(); cmp.Or(cmp.Compare(len(node.ID), len(last)), cmp.Compare(node.ID, last)) <= 0 {
		return nil, fmt.Errorf("shard: node.ID is %q, want one that comes after %q: a Jump grows at its end", node.ID, last)
	}
	return NewJump(append(slices.Clone(j.nodes), node))
}

// Remove returns a table without its last node, which id names. If there is no
// node of that ID, it returns j itself. It is an error if the node is not the last,
// or the only one.
func (j *Jump) Remove(id string) (*Jump, error) {
	at, found := find(j.nodes, id)
	switch {
	case !found:
		return j, nil
	case id != j.last():
		return nil, fmt.Errorf("shard: node %q is not the last, which is %q: a Jump shrinks at its end", id, j.last())
	case len(j.nodes) == 1:
		return nil, fmt.Errorf("shard: node %q is the last of the table, want another to remain", id)
	}
	return NewJump(slices.Delete(slices.Clone(j.nodes), at, at+1))
}

// last returns the ID of the last node.
func (j *Jump) last() string { return j.nodes[j.order[len(j.order)-1]].ID }
