package shard

import (
	"cmp"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/uprung/uprung/internal/splitmix"
)

// The models are slow and obvious: they keep nodes in the order in which they came,
// sort everything anew and scan from the beginning.

// model is a table under test beside its model. set changes both to other nodes.
type model struct {
	set   func(nodes []Node) (Table, error)
	owner func(hash uint64) string
}

func ringModel(points int) *model {
	type point struct {
		hash uint64
		id   string
	}
	var all []point
	var ring *Ring
	m := &model{}
	m.set = func(nodes []Node) (Table, error) {
		all = all[:0]
		for _, n := range nodes {
			for v := range max(n.Weight, 1) * points {
				all = append(all, point{splitmix.Mix(Hash(n.ID) + uint64(v)*splitmix.Phi), n.ID})
			}
		}
		slices.SortFunc(all, func(a, b point) int {
			return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.id, b.id))
		})
		// The ring changes by Remove and Add, and is never built anew.
		if ring == nil {
			var err error
			ring, err = NewRing(nodes, &RingOptions{Points: points})
			return ring, err
		}
		var err error
		for _, n := range nodes {
			if _, found := find(ring.Nodes(), n.ID); !found {
				if ring, err = ring.Add(n); err != nil {
					return nil, err
				}
			}
		}
		for _, n := range ring.Nodes() {
			if !slices.ContainsFunc(nodes, func(o Node) bool { return o.ID == n.ID }) {
				if ring, err = ring.Remove(n.ID); err != nil {
					return nil, err
				}
			}
		}
		return ring, nil
	}
	m.owner = func(hash uint64) string {
		for _, p := range all {
			if p.hash >= hash {
				return p.id
			}
		}
		return all[0].id
	}
	return m
}

func maglevModel(size int) *model {
	var table []string
	return &model{
		set: func(nodes []Node) (Table, error) {
			table = make([]string, size)
			turns := map[string]int{}
			steps := map[string]int{}
			for range size {
				// Who had the fewest turns for its weight, and of these the smallest ID.
				next := nodes[0]
				for _, n := range nodes[1:] {
					a, b := turns[n.ID]*max(next.Weight, 1), turns[next.ID]*max(n.Weight, 1)
					if a < b || a == b && n.ID < next.ID {
						next = n
					}
				}
				turns[next.ID]++
				h := Hash(next.ID)
				offset, skip := h%uint64(size), splitmix.Mix(h)%uint64(size-1)+1
				for {
					at := (offset + uint64(steps[next.ID])*skip) % uint64(size)
					steps[next.ID]++
					if table[at] == "" {
						table[at] = next.ID
						break
					}
				}
			}
			return NewMaglev(nodes, &MaglevOptions{Size: size})
		},
		owner: func(hash uint64) string { return table[firstSlotOf(hash, size)] },
	}
}

// firstSlotOf looks for the slot, of count equal ones, that ends after hash.
func firstSlotOf(hash uint64, count int) int {
	for slot := range count - 1 {
		// The slot ends at (slot + 1) * 2^64 / count, rounded up.
		end, rest := bits.Div64(uint64(slot+1), 0, uint64(count))
		if hash < end || hash == end && rest > 0 {
			return slot
		}
	}
	return count - 1
}

func rendezvousModel() *model {
	logs := logTable()
	var all []Node
	return &model{
		set: func(nodes []Node) (Table, error) {
			all = nodes
			return NewRendezvous(nodes)
		},
		owner: func(hash uint64) string {
			best := slices.MinFunc(all, func(a, b Node) int {
				x, y := splitmix.Mix(hash^Hash(a.ID)), splitmix.Mix(hash^Hash(b.ID))
				return cmp.Or(
					cmp.Compare(
						cost(logs, x)*uint64(max(b.Weight, 1)),
						cost(logs, y)*uint64(max(a.Weight, 1))),
					cmp.Compare(y, x),
					cmp.Compare(a.ID, b.ID),
				)
			})
			return best.ID
		},
	}
}

func slotsModel(t *testing.T, count int) *model {
	var owners []string
	var slots *Slots
	m := &model{owner: func(hash uint64) string { return owners[firstSlotOf(hash, count)] }}
	m.set = func(nodes []Node) (Table, error) {
		var err error
		if slots == nil {
			slots, err = NewSlots(nodes, &SlotsOptions{Slots: count})
			if err == nil {
				owners = slots.Owners()
			}
			return slots, err
		}
		var moves []Move
		if slots, moves, err = slots.Rebalance(nodes); err != nil {
			return nil, err
		}
		// Slots that must move: those of nodes that are gone, and those above the
		// ideal rounded up. Rounding down would need more, until all slots have a node.
		weights, held := map[string]int{}, map[string]int{}
		total, must := 0, 0
		for _, n := range nodes {
			weights[n.ID] = max(n.Weight, 1)
			total += weights[n.ID]
		}
		for _, id := range owners {
			if weights[id] == 0 {
				must++
			}
			held[id]++
		}
		roomLow, roomHigh, over := 0, 0, 0
		for id, w := range weights {
			low, high := count*w/total, (count*w+total-1)/total
			over += max(held[id]-high, 0)
			roomLow += max(low-held[id], 0)
			roomHigh += max(high-held[id], 0)
		}
		want := max(must+over, roomLow)
		if len(moves) != want || want > roomHigh {
			t.Errorf("%d slots move, want %d", len(moves), want)
		}
		for _, move := range moves {
			if owners[move.Slot] != move.From || move.From == move.To {
				t.Errorf("move %+v of a slot of %s", move, owners[move.Slot])
			}
			owners[move.Slot] = move.To
		}
		checkShares(t, slots, total)
		return slots, nil
	}
	return m
}

// TestModels compares every table with its model over random additions, removals
// and lookups.
func TestModels(t *testing.T) {
	t.Parallel()
	operations := 50_000
	if fullModels() {
		operations = 1_000_000
	}
	for name, m := range map[string]*model{
		"ring":       ringModel(5),
		"maglev":     maglevModel(211),
		"rendezvous": rendezvousModel(),
		"slots":      slotsModel(t, 97),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const seed = 20_260
			random := rand.New(rand.NewPCG(seed, uint64(len(name))))
			nodes := []Node{{ID: "first"}}
			table, err := m.set(nodes)
			if err != nil {
				t.Fatal(err)
			}
			for op := range operations {
				switch random.IntN(100) {
				case 0: // add
					if len(nodes) < 14 {
						id := fmt.Sprintf("node-%d", random.IntN(40))
						if slices.ContainsFunc(nodes, func(n Node) bool { return n.ID == id }) {
							continue
						}
						nodes = append(slices.Clone(nodes), Node{ID: id, Weight: random.IntN(4)})
						table, err = m.set(nodes)
					}
				case 1: // remove
					if len(nodes) > 1 {
						at := random.IntN(len(nodes))
						nodes = slices.Delete(slices.Clone(nodes), at, at+1)
						table, err = m.set(nodes)
					}
				default:
					hash := random.Uint64()
					if got, want := owner(table, hash), m.owner(hash); got != want {
						t.Fatalf("seed %d, operation %d: hash %#x of nodes %v is at %q, want %q", seed, op, hash, nodes, got, want)
					}
				}
				if err != nil {
					t.Fatalf("seed %d, operation %d: %v", seed, op, err)
				}
			}
		})
	}
}

// A key's node in a Jump of n nodes is the last at which it arrived while the nodes
// were added one by one.
func TestJumpModel(t *testing.T) {
	t.Parallel()
	for i := range 2000 {
		at := 0
		for n := 1; n <= 60; n++ {
			got := jump(testHash(i), n)
			if got != at && got != n-1 {
				t.Fatalf("hash %#x goes from %d to %d when number %d is added", testHash(i), at, got, n-1)
			}
			at = got
		}
	}
}
