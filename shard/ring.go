package shard

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/uprung/uprung/internal/splitmix"
)

const (
	// defaultPoints gives the busiest of 100 nodes about 1.2 times the average: a
	// node's share deviates by 1/sqrt(points), and the largest of 100 by 2.5 of that.
	defaultPoints = 160
	// maxPoints bounds the memory of a ring to about 300 MB.
	maxPoints = 1 << 24
)

// RingOptions are the settings of [NewRing]. The zero value of each field is its
// default.
type RingOptions struct {
	// Points is the number of points on the ring for each unit of a node's weight.
	// Zero means 160, with which the busiest of 100 equal nodes has about 1.2 times
	// the average (1.13 to 1.33, as the IDs have it); with 512 it has about 1.1 times. Processes that are to agree need
	// the same number. All nodes together have at most 1<<24 points.
	Points int
}

// Ring is a consistent-hash ring (Karger et al., STOC 1997): every node has a fixed
// number of points among the hashes, and a key belongs to the node of the first
// point at or after its own hash, clockwise. Of equal points, the one of the
// smaller ID counts.
//
// A node's points depend on its ID, its weight and nothing else: adding it moves
// keys only to it, removing it only from it, changing its weight only to or from
// it.
//
// The hashes are divided into equal intervals with 5 to 10 points each on average,
// which lie together in one line of memory, so that a lookup reads that line and,
// but for one in some hundred, nothing else. Memory is 17 to 24 bytes for each
// point. A Ring is immutable and safe for concurrent use.
type Ring struct {
	nodes  []Node
	unit   int      // points for each unit of weight
	points []uint64 // sorted, and after them the largest uint64
	owners []uint16 // of points; of the last, that of the first
	width  uint8    // number of high bits of a hash that are the number of its interval
	index  []uint32 // of an interval: its first point, or the first after it
	lines  []line   // of an interval: its points, for lookups
}

// NewRing makes a ring of nodes. Nil options mean the defaults. The error names
// every node and setting that is wrong.
func NewRing(nodes []Node, o *RingOptions) (*Ring, error) {
	unit := defaultPoints
	if o != nil && o.Points != 0 {
		unit = o.Points
	}
	var optionErr error
	if unit < 0 || unit > maxPoints {
		optionErr = fmt.Errorf("shard: RingOptions.Points is %d, want 0 to %d", unit, maxPoints)
	}
	nodes, err := checked(nodes)
	if err = errors.Join(err, optionErr); err != nil {
		return nil, err
	}
	sum := int64(0)
	for _, n := range nodes {
		sum += int64(n.Weight) * int64(unit)
	}
	if sum > maxPoints {
		return nil, tooManyPoints(sum)
	}
	total := int(sum)
	r := newEmptyRing(nodes, unit, total)

	// The points are as good as random: sorting them into the intervals of the
	// index leaves some in each.
	for _, n := range nodes {
		for h := range n.points(unit) {
			r.index[r.interval(h)]++
		}
	}
	r.sumIndex()
	for i, n := range nodes {
		for h := range n.points(unit) {
			at := r.index[r.interval(h)]
			r.index[r.interval(h)]++ // and so becomes where the next interval begins
			r.points[at], r.owners[at] = h, uint16(i)
		}
	}
	// An earlier owner is put first, and stays there among equals.
	for i := 1; i < total; i++ {
		h, owner, at := r.points[i], r.owners[i], i
		for ; at > 0 && r.points[at-1] > h; at-- {
			r.points[at], r.owners[at] = r.points[at-1], r.owners[at-1]
		}
		r.points[at], r.owners[at] = h, owner
	}
	copy(r.index[1:], r.index)
	r.index[0] = 0
	r.drawLines()
	return r, nil
}

func tooManyPoints(total int64) error {
	return fmt.Errorf("shard: the sum of Weight * RingOptions.Points is %d, want at most %d", total, maxPoints)
}

// newEmptyRing allocates a ring of total points.
func newEmptyRing(nodes []Node, unit, total int) *Ring {
	width := max(1, bits.Len(uint((total-1)/lineLoad)))
	r := &Ring{
		nodes:  nodes,
		unit:   unit,
		points: make([]uint64, total+1),
		owners: make([]uint16, total+1),
		width:  uint8(width),
		index:  make([]uint32, 1<<width),
		lines:  make([]line, 1<<width),
	}
	r.points[total] = math.MaxUint64
	return r
}

// points yields the points of a node, in no order. They are distinct, because mix
// is a bijection.
func (n Node) points(unit int) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		h := Hash(n.ID)
		for range n.Weight * unit {
			if !yield(splitmix.Mix(h)) {
				return
			}
			h += splitmix.Phi
		}
	}
}

// Nodes returns the nodes sorted by ID.
func (r *Ring) Nodes() []Node { return r.nodes }

// interval returns the number of the interval that a hash lies in.
func (r *Ring) interval(hash uint64) uint64 { return hash >> (-r.width & 63) }

// fraction returns the highest of the bits of a hash that follow those.
func (r *Ring) fraction(hash uint64) uint64 { return hash << (r.width & 63) >> (64 - fractionBits) }

// Lookup returns the node of a hash.
func (r *Ring) Lookup(hash uint64) int {
	line, fraction := &r.lines[r.interval(hash)], r.fraction(hash)
	if i := line.below(fraction); i < lineLen && line.fraction(i) != fraction {
		return int(line.owners[i])
	}
	return int(r.owners[r.find(hash)])
}

// find returns the first point that is not below hash, or the last, which stands
// for the first.
func (r *Ring) find(hash uint64) int {
	i := int(r.index[r.interval(hash)])
	for r.points[i] < hash {
		i++
	}
	return i
}

// Walk yields the nodes in the order in which their points follow hash, clockwise.
func (r *Ring) Walk(hash uint64, yield func(node int) bool) {
	start, total := r.find(hash), len(r.points)-1
	if start == total {
		start = 0
	}
	walkOwners(r.owners[:total], start, len(r.nodes), yield)
}

// Add returns a ring that has one node more. It merges the points of the node into
// those that are sorted already, in time linear in their number: about a
// millisecond for 1000 nodes. It is an error if the ring has a node of that ID;
// Remove it first to change its weight.
func (r *Ring) Add(node Node) (*Ring, error) {
	added, err := checked([]Node{node})
	if err != nil {
		return nil, err
	}
	node = added[0]
	at, found := find(r.nodes, node.ID)
	if found {
		return nil, fmt.Errorf("shard: node.ID is %q, want one that the ring does not have", node.ID)
	}
	if len(r.nodes) == MaxNodes {
		return nil, fmt.Errorf("shard: the ring has %d nodes, which is the most", MaxNodes)
	}
	old := len(r.points) - 1
	sum := int64(old) + int64(node.Weight)*int64(r.unit)
	if sum > maxPoints {
		return nil, tooManyPoints(sum)
	}
	total := int(sum)
	points := slices.Sorted(node.points(r.unit))
	to := newEmptyRing(slices.Insert(slices.Clone(r.nodes), at, node), r.unit, total)

	// Owners from at on move up by one.
	from, put := 0, 0
	take := func(end int) {
		n := copy(to.points[put:], r.points[from:end])
		out := to.owners[put : put+n]
		for i, owner := range r.owners[from:end] {
			if int(owner) >= at {
				owner++
			}
			out[i] = owner
		}
		from, put = end, put+n
	}
	for _, h := range points {
		end := r.find(h)
		for end < old && r.points[end] == h && int(r.owners[end]) < at {
			end++
		}
		take(end)
		to.points[put], to.owners[put] = h, uint16(at)
		put++
	}
	take(old)
	to.finish()
	return to, nil
}

// Remove returns a ring without the node of this ID, in time linear in the number
// of points. Without such a node, it returns r itself. It is an error if no node
// would be left.
func (r *Ring) Remove(id string) (*Ring, error) {
	at, found := find(r.nodes, id)
	if !found {
		return r, nil
	}
	if len(r.nodes) == 1 {
		return nil, fmt.Errorf("shard: node %q is the last of the ring, want another to remain", id)
	}
	old := len(r.points) - 1
	to := newEmptyRing(slices.Delete(slices.Clone(r.nodes), at, at+1), r.unit, old-r.nodes[at].Weight*r.unit)
	// Owners after at move down by one.
	put := 0
	for i, owner := range r.owners[:old] {
		if int(owner) == at {
			continue
		}
		to.points[put] = r.points[i]
		if int(owner) > at {
			owner--
		}
		to.owners[put] = owner
		put++
	}
	to.finish()
	return to, nil
}

// finish fills in what follows from the sorted points.
func (r *Ring) finish() {
	for _, h := range r.points[:len(r.points)-1] {
		r.index[r.interval(h)]++
	}
	r.sumIndex()
	r.drawLines()
}

// drawLines fills in what follows from the sorted points and their index.
func (r *Ring) drawLines() {
	total := len(r.points) - 1
	r.owners[total] = r.owners[0]
	for i := range r.lines {
		begin, end := int(r.index[i]), total
		if i+1 < len(r.lines) {
			end = int(r.index[i+1])
		}
		line, n := &r.lines[i], min(end-begin, lineLen)
		line.fractions = noPoints
		for j, h := range r.points[begin : begin+n] {
			line.set(j, r.fraction(h), r.owners[begin+j])
		}
		for j := n; j < lineLen; j++ {
			line.owners[j] = r.owners[end]
		}
	}
}

// sumIndex replaces the numbers of points in the intervals by where each begins.
func (r *Ring) sumIndex() {
	begin := uint32(0)
	for i, count := range r.index {
		r.index[i] = begin
		begin += count
	}
}
