package shard

import (
	"cmp"
	"slices"
	"strings"

	"github.com/uprung/uprung/internal/splitmix"
)

// diffSamples is the number of hashes that [Diff] looks up in both tables.
const diffSamples = 1 << 16

// Difference is what moves from one table to another.
type Difference struct {
	// Moved is the share of all keys that change their node, 0 to 1.
	Moved float64
	// Ideal is the least share that any table could move, 0 to 1, by the weights of
	// the nodes before and after: what those nodes lose that have a smaller share of
	// the weight than before. Moved can be a little below it, where a table gives
	// nodes less than their weight's worth.
	Ideal float64
	// Flows are the moves, the largest first.
	Flows []Flow
}

// Flow is the share of all keys, 0 to 1, that moves from one node to another.
type Flow struct {
	From, To string // IDs of nodes
	Share    float64
}

// Diff estimates what moves when one table takes the place of another, of
// whatever kinds they are. Nodes are the same if their IDs are. Both tables must
// have nodes.
//
// It looks up 65,536 hashes, one in each of as many equal parts of their range,
// the same each time. The error of a share p is, for random hashes, about
// sqrt(p*(1-p)/65536): 0.04 percentage points where 1% moves, 0.2 where a half
// does. What moves less than one key in 65,536 may be missed. It takes a few
// milliseconds.
func Diff(from, to Table) Difference {
	before, after := from.Nodes(), to.Nodes()
	counts := make(map[[2]int]int)
	moved := 0
	for i := range uint64(diffSamples) {
		hash := sample(i)
		a, b := from.Lookup(hash), to.Lookup(hash)
		if before[a].ID != after[b].ID {
			counts[[2]int{a, b}]++
			moved++
		}
	}
	d := Difference{Moved: float64(moved) / diffSamples, Ideal: ideal(before, after)}
	for pair, n := range counts {
		d.Flows = append(d.Flows, Flow{
			From: before[pair[0]].ID, To: after[pair[1]].ID, Share: float64(n) / diffSamples,
		})
	}
	slices.SortFunc(d.Flows, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	return d
}

// sample returns the i-th hash: anywhere within the i-th part of the range.
func sample(i uint64) uint64 {
	const part = 64 - 16
	return i<<part | splitmix.Mix(i*splitmix.Phi)>>(64-part)
}

// ideal returns the share of keys that must move for every node to have its
// weight's worth.
func ideal(before, after []Node) float64 {
	total := func(nodes []Node) (sum float64) {
		for _, n := range nodes {
			sum += float64(n.Weight)
		}
		return sum
	}
	was, is := total(before), total(after)
	shares := make(map[string]float64, len(after))
	for _, n := range after {
		shares[n.ID] = float64(n.Weight) / is
	}
	lost := 0.0
	for _, n := range before {
		lost += max(0, float64(n.Weight)/was-shares[n.ID])
	}
	return lost
}
