package shard

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

const (
	// MaxNodes is the largest number of nodes of a table.
	MaxNodes = 1 << 16
	// MaxWeight is the largest weight of a node.
	MaxWeight = 1<<16 - 1

	maxLabel = 255 // bytes of a Node's ID, and of its Zone
)

// Node is a place that keys are routed to: a database, a cache server, a process.
type Node struct {
	// ID is the node's name, 1 to 255 bytes, and what the placement of keys is
	// computed from: a node that is moved to another address keeps its keys if it
	// keeps its ID. IDs are unique within a table.
	ID string
	// Weight is the node's share of the keys, relative to the weights of the others.
	// Zero means 1; to take a node's keys away, leave the node out. A negative weight
	// and one above [MaxWeight] are errors.
	Weight int
	// Zone names what fails together with the node, such as a rack, a data centre
	// or a region; at most 255 bytes. It does not influence where a key goes, only
	// which nodes replicate it. Empty means that the zone is not known.
	Zone string
}

// checked returns a copy of nodes, sorted by ID, in which every weight is set. Its
// error names everything that is wrong.
func checked(nodes []Node) ([]Node, error) {
	if len(nodes) == 0 || len(nodes) > MaxNodes {
		return nil, fmt.Errorf("shard: nodes has %d elements, want 1 to %d", len(nodes), MaxNodes)
	}
	var errs []error
	bad := func(i int, field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("shard: nodes[%d].%s is %s", i, field, fmt.Sprintf(format, args...)))
	}
	first := make(map[string]int, len(nodes))
	for i, n := range nodes {
		if len(n.ID) == 0 || len(n.ID) > maxLabel {
			bad(i, "ID", "%d bytes long, want 1 to %d", len(n.ID), maxLabel)
		} else if j, ok := first[n.ID]; ok {
			bad(i, "ID", "%q, want one that no other node has, and nodes[%d] has it", n.ID, j)
		} else {
			first[n.ID] = i
		}
		if n.Weight < 0 {
			bad(i, "Weight", "%d, want >= 0", n.Weight)
		} else if n.Weight > MaxWeight {
			bad(i, "Weight", "%d, want <= %d", n.Weight, MaxWeight)
		}
		if len(n.Zone) > maxLabel {
			bad(i, "Zone", "%d bytes long, want at most %d", len(n.Zone), maxLabel)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	nodes = slices.Clone(nodes)
	for i := range nodes {
		nodes[i].Weight = max(nodes[i].Weight, 1)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, nil
}

// find returns the index of id in nodes, which are sorted, or the one at which it
// belongs.
func find(nodes []Node, id string) (int, bool) {
	return slices.BinarySearchFunc(nodes, id, func(n Node, id string) int { return cmp.Compare(n.ID, id) })
}

// equalWeights reports whether all nodes have one weight.
func equalWeights(nodes []Node) bool {
	return !slices.ContainsFunc(nodes, func(n Node) bool { return n.Weight != nodes[0].Weight })
}
