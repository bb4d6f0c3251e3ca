package shard

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
)

// maxOverAvg returns the load of the busiest node for its weight, relative to the
// average.
func maxOverAvg(t Table, keys int) float64 {
	counts := make([]float64, len(t.Nodes()))
	total := 0.0
	for _, n := range t.Nodes() {
		total += float64(n.Weight)
	}
	for i := range keys {
		node := t.Lookup(testHash(i))
		counts[node] += total / float64(t.Nodes()[node].Weight) / float64(keys)
	}
	return slices.Max(counts)
}

func TestBalance(t *testing.T) {
	t.Parallel()
	const keys = 1_000_000
	weights := numbered(100)
	for i := range weights {
		weights[i].Weight = 1 + i%4
	}
	for _, row := range []struct {
		kind  kind
		nodes []Node
		want  float64
	}{
		{kinds[1], numbered(100), 1.04},
		{kinds[2], numbered(100), 1.04},
		{kinds[3], numbered(100), 1.04},
		{kinds[4], numbered(100), 1.04},
		{kinds[1], weights, 1.05},
		{kinds[2], weights, 1.06},
		{kinds[4], weights, 1.06},
	} {
		t.Run(row.kind.name, func(t *testing.T) {
			t.Parallel()
			got := maxOverAvg(row.kind.mustMake(t, row.nodes), keys)
			if t.Logf("max/avg %.3f", got); got > row.want {
				t.Errorf("max/avg is %.3f, want <= %.2f", got, row.want)
			}
		})
	}
}

// How even a ring is depends on the IDs, which stand for random numbers: many
// sets of them are looked at.
func TestRingBalance(t *testing.T) {
	t.Parallel()
	for points, want := range map[int]struct{ median, worst float64 }{
		160: {1.22, 1.4},
		512: {1.12, 1.2},
	} {
		var all []float64
		for set := range 51 {
			nodes := make([]Node, 100)
			for i := range nodes {
				nodes[i].ID = fmt.Sprintf("set-%d-node-%d", set, i)
			}
			r := mustRing(t, nodes, &RingOptions{Points: points})
			shares := make([]float64, len(nodes))
			before := r.points[len(r.points)-2] // the last, which precedes the first
			for i, h := range r.points[:len(r.points)-1] {
				shares[r.owners[i]] += float64(h-before) / math.Exp2(64) * float64(len(nodes))
				before = h
			}
			all = append(all, slices.Max(shares))
		}
		slices.Sort(all)
		if got := all[len(all)/2]; got > want.median {
			t.Errorf("%d points: the median of max/avg is %.3f, want <= %.2f", points, got, want.median)
		}
		if got := all[len(all)-1]; got > want.worst {
			t.Errorf("%d points: the worst max/avg is %.3f, want <= %.2f", points, got, want.worst)
		}
	}
}

func TestSlotsFirstAssignment(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 7, 100, 1000} {
		for _, weighted := range []bool{false, true} {
			nodes := numbered(n)
			total := 0
			for i := range nodes {
				nodes[i].Weight = 1
				if weighted {
					nodes[i].Weight = 1 + i%9
				}
				total += nodes[i].Weight
			}
			s, err := NewSlots(nodes, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkShares(t, s, total)
		}
	}
}

// The first assignment is what a walk over a ring for each slot would give, however
// unequal the nodes are.
func TestSlotsFirstAssignmentIsThatOfWalks(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ nodes, slots, heavy int }{
		{1, 7, 1}, {2, 2, 1}, {3, 1000, 1}, {9, 9, 7}, {40, 300, MaxWeight}, {200, 4096, 50}, {200, 4096, MaxWeight},
	} {
		nodes := numbered(row.nodes)
		for i := range nodes {
			nodes[i].Weight = 1
			if i%17 == 0 {
				nodes[i].Weight = row.heavy
			}
		}
		s, err := NewSlots(nodes, &SlotsOptions{Slots: row.slots})
		if err != nil {
			t.Fatal(err)
		}
		room := quotas(s.nodes, make([]int, row.nodes), row.slots)
		ring := mustRing(t, numbered(row.nodes), &RingOptions{Points: slotPoints})
		for slot := range row.slots {
			want := -1
			ring.Walk(slotHash(slot), func(node int) bool {
				want = node
				return room[node] == 0
			})
			room[want]--
			if got := s.Owner(slot); got != want {
				t.Fatalf("%+v: slot %d is at %d, want %d", row, slot, got, want)
			}
		}
	}
}

// checkShares checks that every node has its ideal number of slots, rounded down
// or up.
func checkShares(t *testing.T, s *Slots, total int) {
	t.Helper()
	held := make([]int, len(s.Nodes()))
	for slot := range s.Len() {
		held[s.Owner(slot)]++
	}
	for i, n := range s.Nodes() {
		ideal := float64(s.Len()) * float64(n.Weight) / float64(total)
		if math.Abs(float64(held[i])-ideal) >= 1 {
			t.Errorf("%d nodes: %q has %d slots, want %.2f rounded down or up", len(held), n.ID, held[i], ideal)
		}
	}
}

func TestSlotsRebalance(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 10, 99} {
		s, err := NewSlots(numbered(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		to, moves, err := s.Rebalance(numbered(n + 1))
		if err != nil {
			t.Fatal(err)
		}
		checkShares(t, to, n+1)
		if want := s.Len() / (n + 1); len(moves) != want {
			t.Errorf("from %d nodes to one more, %d slots move, want %d", n, len(moves), want)
		}
		added := fmt.Sprintf("node-%d", n)
		owners := s.Owners()
		for i, m := range moves {
			if m.To != added || m.From != owners[m.Slot] {
				t.Errorf("move %+v, want from %s to %s", m, owners[m.Slot], added)
			}
			if i > 0 && moves[i-1].Slot >= m.Slot {
				t.Errorf("slot %d moves after slot %d", m.Slot, moves[i-1].Slot)
			}
			owners[m.Slot] = m.To
		}
		if !slices.Equal(owners, to.Owners()) {
			t.Error("the moves do not lead from the old table to the new one")
		}
		if _, again, err := to.Rebalance(numbered(n + 1)); err != nil || len(again) != 0 {
			t.Errorf("a balanced table moves %d slots, error %v", len(again), err)
		}
		back, away, err := to.Rebalance(numbered(n))
		if err != nil {
			t.Fatal(err)
		}
		checkShares(t, back, n)
		if len(away) != len(moves) {
			t.Errorf("removing the node moves %d slots, want its %d", len(away), len(moves))
		}
		stored, err := NewSlots(to.Nodes(), &SlotsOptions{Owners: to.Owners()})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(stored.owners, to.owners) {
			t.Error("a table made from Owners is another")
		}
	}
}

func TestSlotBounds(t *testing.T) {
	t.Parallel()
	s, err := NewSlots(numbered(3), &SlotsOptions{Slots: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for hash, want := range map[uint64]int{0: 0, 1<<63 - 1: 499, 1 << 63: 500, math.MaxUint64: 999} {
		if got := s.Slot(hash); got != want || s.Lookup(hash) != s.Owner(want) {
			t.Errorf("Slot(%#x) = %d, want %d", hash, got, want)
		}
	}
}

func TestWalkIsAPermutationAndStops(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		for _, n := range []int{1, 2, 9, 300, 1024, 1025, 3000} {
			table := kind.mustMake(t, mixed(n, kind.weighted))
			for _, hash := range []uint64{0, math.MaxUint64, testHash(n)} {
				seen := make([]bool, n)
				count := 0
				table.Walk(hash, func(node int) bool {
					if count == 0 && node != table.Lookup(hash) {
						t.Errorf("%s of %d: Walk begins with %d, Lookup is %d", kind.name, n, node, table.Lookup(hash))
					}
					if seen[node] {
						t.Errorf("%s of %d: node %d comes twice", kind.name, n, node)
					}
					seen[node] = true
					count++
					return true
				})
				if count != n {
					t.Errorf("%s of %d: Walk has %d nodes", kind.name, n, count)
				}
				for _, stop := range []int{1, 2, 9, n} {
					calls := 0
					table.Walk(hash, func(int) bool { calls++; return calls < stop })
					if want := min(stop, n); calls != want {
						t.Errorf("%s of %d: %d calls after the one that stopped at %d", kind.name, n, calls, want)
					}
				}
			}
		}
	}
}

// The order of preference of a ring and of rendezvous hashing is the order in which
// a key moves when its nodes are removed one by one.
func TestWalkIsTheOrderOfFailover(t *testing.T) {
	t.Parallel()
	for _, kind := range []kind{kinds[0], kinds[2]} {
		nodes := mixed(9, true)
		for i := range 50 {
			left := nodes
			for _, id := range order(kind.mustMake(t, nodes), testHash(i)) {
				if got := owner(kind.mustMake(t, left), testHash(i)); got != id {
					t.Fatalf("%s: with %d nodes the hash is at %q, want %q", kind.name, len(left), got, id)
				}
				left = slices.DeleteFunc(slices.Clone(left), func(n Node) bool { return n.ID == id })
			}
		}
	}
}

func TestReadersDoNotDisturb(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		table := kind.mustMake(t, mixed(30, kind.weighted))
		want := make([][]string, 100)
		for i := range want {
			want[i] = order(table, testHash(i))
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := range want {
					if got := order(table, testHash(i)); !slices.Equal(got, want[i]) {
						t.Errorf("%s: order is %v, want %v", kind.name, got, want[i])
					}
					if got := owner(table, testHash(i)); got != want[i][0] {
						t.Errorf("%s: owner is %v, want %v", kind.name, got, want[i][0])
					}
				}
			})
		}
		wg.Wait()
	}
}
