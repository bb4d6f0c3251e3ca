package shard

// smallSet is the number of nodes up to which a walk keeps its set of those seen
// in 128 bytes of its stack. Above, it takes 8 KB.
const smallSet = 1024

// nodeSet is a set of indices of nodes, one bit each.
type nodeSet []uint64

// add reports whether node is new to the set.
func (s nodeSet) add(node int) bool {
	word, bit := &s[node>>6], uint64(1)<<(node&63)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// walkOwners yields the owners of a closed sequence from position start on, each
// node once, and then the nodes that own nothing in the order of their IDs.
func walkOwners(owners []uint16, start, nodes int, yield func(node int) bool) {
	if !yield(int(owners[start])) || nodes == 1 {
		return
	}
	if nodes > smallSet {
		walkManyOwners(owners, start, nodes, yield)
		return
	}
	var seen [smallSet / 64]uint64
	walkOthers(owners, start, nodes, seen[:], yield)
}

// walkManyOwners is apart so that the frames of small walks stay small.
//
//go:noinline
func walkManyOwners(owners []uint16, start, nodes int, yield func(node int) bool) {
	var seen [MaxNodes / 64]uint64
	walkOthers(owners, start, nodes, seen[:], yield)
}

func walkOthers(owners []uint16, start, nodes int, seen nodeSet, yield func(node int) bool) {
	seen.add(int(owners[start]))
	missing := nodes - 1
	for _, part := range [2][]uint16{owners[start+1:], owners[:start]} {
		for _, owner := range part {
			if !seen.add(int(owner)) {
				continue
			}
			if missing--; !yield(int(owner)) || missing == 0 {
				return
			}
		}
	}
	walkRest(nodes, seen, yield)
}

// walkRest yields the nodes that were not seen.
func walkRest(nodes int, seen nodeSet, yield func(node int) bool) {
	for node := range nodes {
		if seen.add(node) && !yield(node) {
			return
		}
	}
}
