package shard

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/uprung/uprung/internal/splitmix"
)

const (
	// defaultSlots is the number of hash slots of a Redis Cluster.
	defaultSlots = 1 << 14
	// maxSlots bounds the memory of a table to 32 MB.
	maxSlots = 1 << 24
	// slotPoints is the number of a node's points on the ring by which slots are
	// first assigned. It is part of the format: another would move slots.
	slotPoints = 64
)

// SlotsOptions are the settings of [NewSlots]. The zero value of each field is its
// default.
type SlotsOptions struct {
	// Slots is the number of slots, at most 1<<24 and not less than the number of
	// nodes. Zero means 16384, or the length of Owners. It never changes: choose at
	// least 64 times the largest number of nodes that there will be.
	Slots int
	// Owners is the ID of each slot's node, as [Slots.Owners] returned it, to go on
	// from a table that was stored. Nil means a first assignment.
	Owners []string
}

// Slots divides the hashes into a fixed number of equal slots and keeps a list of
// each slot's node, as Redis Cluster does with its hash slots and Vitess with its
// keyspace ranges. Lookups are as fast as those of [Maglev], the nodes' numbers of
// slots differ from their ideal shares by less than one, and [Slots.Rebalance] says
// which slots move, the fewest possible.
//
// The price is state: after a rebalancing, the table no longer follows from its
// nodes alone, and must be stored (see [Slots.Owners]) and handed to every process.
// Memory is 2 bytes for each slot. A Slots is immutable and safe for concurrent use.
type Slots struct {
	nodes  []Node
	owners []uint16 // of the slots
}

// Move says that a slot goes from one node to another.
type Move struct {
	// Slot is the number of the slot: its hashes begin at Slot * 2^64 / n, rounded
	// up, of n slots.
	Slot int
	// From and To are IDs of nodes.
	From, To string
}

// NewSlots makes a table of nodes. Nil options mean the defaults. The first
// assignment gives every node the number of slots that its weight is due, rounded
// down or up, and which ones follows from the nodes' IDs and weights alone, not from
// what any earlier table said: to come from one, use [Slots.Rebalance]. The error
// names every node and setting that is wrong, and every owner that is not a node.
func NewSlots(nodes []Node, o *SlotsOptions) (*Slots, error) {
	if o == nil {
		o = &SlotsOptions{}
	}
	count := cmp.Or(o.Slots, len(o.Owners), defaultSlots)
	var errs []error
	switch {
	case count < 1 || count > maxSlots:
		errs = append(errs, fmt.Errorf("shard: SlotsOptions.Slots is %d, want 1 to %d", count, maxSlots))
	case count < len(nodes):
		errs = append(errs, fmt.Errorf("shard: SlotsOptions.Slots is %d, want at least the number of nodes, %d", count, len(nodes)))
	}
	if o.Owners != nil && len(o.Owners) != count {
		errs = append(errs, fmt.Errorf("shard: SlotsOptions.Owners has %d elements, want %d, as many as slots", len(o.Owners), count))
	}
	nodes, err := checked(nodes)
	if err = errors.Join(err, errors.Join(errs...)); err != nil {
		return nil, err
	}
	s := &Slots{nodes: nodes, owners: make([]uint16, count)}
	if o.Owners == nil {
		s.assign()
		return s, nil
	}
	for slot, id := range o.Owners {
		node, found := find(nodes, id)
		if !found {
			return nil, absent(nodes, o.Owners)
		}
		s.owners[slot] = uint16(node)
	}
	return s, nil
}

// absent is the error for owners that are not among nodes, with one line for each.
func absent(nodes []Node, owners []string) error {
	held := make(map[string]int)
	var first []int // the slots where each is met first
	for slot, id := range owners {
		if _, found := find(nodes, id); found {
			continue
		}
		if held[id]++; held[id] == 1 {
			first = append(first, slot)
		}
	}
	var errs []error
	for _, slot := range first {
		id, slots := owners[slot], ""
		if n := held[id]; n > 1 {
			slots = fmt.Sprintf(": it has %d slots", n)
		}
		errs = append(errs, fmt.Errorf("shard: SlotsOptions.Owners[%d] is %q, want the ID of a node%s", slot, id, slots))
	}
	return errors.Join(errs...)
}

// assign gives every slot to the first node with room for it that follows on a
// ring, on which all nodes have equally many points.
func (s *Slots) assign() {
	room := quotas(s.nodes, make([]int, len(s.nodes)), len(s.owners))
	plain := slices.Clone(s.nodes)
	for i := range plain {
		plain[i].Weight = 1
	}
	ring, err := NewRing(plain, &RingOptions{Points: slotPoints})
	if err != nil {
		panic(err) // the nodes were checked, and are too few to exceed maxPoints
	}
	// A point whose node has no room is passed over from then on. Whoever does so leaves
	// behind, at each point passed, where that led (path compression: Tarjan and van
	// Leeuwen, JACM 31(2), 1984).
	points := ring.owners[:len(ring.owners)-1]
	next := make([]int32, len(points)) // at most maxPoints
	for i := range next {
		next[i] = int32((i + 1) % len(next))
	}
	for slot := range s.owners {
		start := int32(ring.find(slotHash(slot)) % len(points))
		at := start
		for room[points[at]] == 0 {
			at = next[at]
		}
		for start != at {
			start, next[start] = next[start], at
		}
		room[points[at]]--
		s.owners[slot] = points[at]
	}
}

// slotHash is a random number of a slot.
func slotHash(slot int) uint64 { return splitmix.Mix(uint64(slot) * splitmix.Phi) }

// quotas returns how many of count slots each node is to have: its ideal share,
// rounded down or up. Rounded up are first those that hold more than the share
// rounded down, because that saves a move, then those with the largest remainder,
// then those with the smallest IDs.
func quotas(nodes []Node, held []int, count int) []int {
	total := int64(0)
	for _, n := range nodes {
		total += int64(n.Weight)
	}
	quota := make([]int, len(nodes))
	remainder := make([]int64, len(nodes))
	rest := count
	order := make([]int, 0, len(nodes))
	for i, n := range nodes {
		share := int64(count) * int64(n.Weight) // times total
		quota[i], remainder[i] = int(share/total), share%total
		rest -= quota[i]
		if remainder[i] > 0 {
			order = append(order, i)
		}
	}
	saves := func(i int) int { return min(max(held[i]-quota[i], 0), 1) }
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(
			cmp.Compare(saves(b), saves(a)),
			cmp.Compare(remainder[b], remainder[a]),
			cmp.Compare(a, b),
		)
	})
	for _, i := range order[:rest] {
		quota[i]++
	}
	return quota
}

// Nodes returns the nodes sorted by ID.
func (s *Slots) Nodes() []Node { return s.nodes }

// Lookup returns the node of a hash.
func (s *Slots) Lookup(hash uint64) int { return int(s.owners[scale(hash, len(s.owners))]) }

// Walk yields the nodes in the order in which they follow in the list of slots, and
// then those that have none.
func (s *Slots) Walk(hash uint64, yield func(node int) bool) {
	walkOwners(s.owners, scale(hash, len(s.owners)), len(s.nodes), yield)
}

// Len returns the number of slots.
func (s *Slots) Len() int { return len(s.owners) }

// Slot returns the slot of a hash: the high 64 bits of its product with the number
// of slots.
func (s *Slots) Slot(hash uint64) int { return scale(hash, len(s.owners)) }

// Owner returns the node of a slot as an index into Nodes. It panics if there is
// no such slot.
func (s *Slots) Owner(slot int) int { return int(s.owners[slot]) }

// Owners returns the ID of each slot's node, to be stored and given to [NewSlots]
// as [SlotsOptions].Owners.
func (s *Slots) Owners() []string {
	ids := make([]string, len(s.owners))
	for slot, node := range s.owners {
		ids[slot] = s.nodes[node].ID
	}
	return ids
}

// Rebalance returns a table with as many slots over another set of nodes, and the
// moves that lead to it, sorted by slot. Every node then has its ideal share of the
// slots rounded down or up, and no table of which that is true is fewer moves away:
// nodes that are gone lose all their slots, nodes that have too many lose the excess,
// and nothing else moves. To the nodes that s has, if s is balanced, nothing moves.
// s itself does not change.
//
// Which slots move is the same in every process. The error names every node that is
// wrong; it is one if there are more nodes than slots.
func (s *Slots) Rebalance(nodes []Node) (*Slots, []Move, error) {
	nodes, err := checked(nodes)
	if len(nodes) > len(s.owners) {
		err = errors.Join(err, fmt.Errorf("shard: nodes has %d elements, want at most %d, the number of slots", len(nodes), len(s.owners)))
	}
	if err != nil {
		return nil, nil, err
	}
	const gone = -1
	renamed := make([]int, len(s.nodes)) // index there to index here
	for i, n := range s.nodes {
		renamed[i] = gone
		if at, found := find(nodes, n.ID); found {
			renamed[i] = at
		}
	}
	held := make([]int, len(nodes))
	for _, owner := range s.owners {
		if node := renamed[owner]; node != gone {
			held[node]++
		}
	}
	quota := quotas(nodes, held, len(s.owners))
	var takers []int
	for i := range nodes {
		if held[i] < quota[i] {
			takers = append(takers, i)
		}
	}

	// The slots are gone through in a random order, so that a node's neighbours, to
	// which its keys go when it fails, are many.
	order := make([]int, len(s.owners))
	for slot := range order {
		order[slot] = slot
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(slotHash(a), slotHash(b)) })
	to := &Slots{nodes: nodes, owners: make([]uint16, len(s.owners))}
	var moves []Move
	turn := 0
	for _, slot := range order {
		node := renamed[s.owners[slot]]
		if node != gone && held[node] <= quota[node] {
			to.owners[slot] = uint16(node)
			continue
		}
		if node != gone {
			held[node]--
		}
		if turn >= len(takers) {
			turn = 0
		}
		taker := takers[turn]
		if held[taker]++; held[taker] == quota[taker] {
			takers = slices.Delete(takers, turn, turn+1)
		} else {
			turn++
		}
		to.owners[slot] = uint16(taker)
		moves = append(moves, Move{Slot: slot, From: s.nodes[s.owners[slot]].ID, To: nodes[taker].ID})
	}
	slices.SortFunc(moves, func(a, b Move) int { return cmp.Compare(a.Slot, b.Slot) })
	return to, moves, nil
}
