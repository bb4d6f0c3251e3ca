package shard

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// mixed returns n nodes whose IDs are of several lengths and, if weighted, whose
// weights differ.
func mixed(n int, weighted bool) []Node {
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = Node{ID: fmt.Sprintf("host%d.example", i*i), Zone: fmt.Sprintf("zone-%d", i%3)}
		if weighted {
			nodes[i].Weight = i % 5
		}
	}
	return nodes
}

func TestTrap02InsertionOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		nodes := mixed(25, kind.weighted)
		want := kind.mustMake(t, nodes)
		for seed := range uint64(5) {
			shuffled := slices.Clone(nodes)
			rand.New(rand.NewPCG(seed, 0)).Shuffle(len(shuffled), func(i, j int) {
				shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
			})
			before := slices.Clone(shuffled)
			got := kind.mustMake(t, shuffled)
			if !slices.Equal(shuffled, before) {
				t.Errorf("%s: the constructor changed the nodes given to it", kind.name)
			}
			if !slices.Equal(got.Nodes(), want.Nodes()) {
				t.Fatalf("%s: Nodes() = %v, want %v", kind.name, got.Nodes(), want.Nodes())
			}
			for i := range 200 {
				if got, want := order(got, testHash(i)), order(want, testHash(i)); !slices.Equal(got, want) {
					t.Fatalf("%s, seed %d: order for hash %#x is %v, want %v", kind.name, seed, testHash(i), got, want)
				}
			}
		}
	}
}

// twins returns a ring of two nodes that share all points, those of "c", as they
// would by an accident of the hash.
func twins(t *testing.T, a, b string) *Ring {
	t.Helper()
	nodes, err := checked([]Node{{ID: a}, {ID: b}})
	if err != nil {
		t.Fatal(err)
	}
	r := newEmptyRing(nodes, 4, 8)
	for i, h := range slices.Sorted(Node{ID: "c", Weight: 1}.points(4)) {
		r.points[2*i], r.points[2*i+1] = h, h
		r.owners[2*i], r.owners[2*i+1] = 0, 1
	}
	r.finish()
	return r
}

func TestTrap02EqualPointsGoToTheSmallerID(t *testing.T) {
	t.Parallel()
	same := twins(t, "b", "d")
	for i := range 1000 {
		if got := owner(same, testHash(i)); got != "b" {
			t.Fatalf("hash %#x is at %q, want b", testHash(i), got)
		}
	}
	// A third, whose points are the same too, comes between them.
	added, err := same.Add(Node{ID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 12; i += 3 {
		if got, want := added.owners[i:i+3], []uint16{0, 1, 2}; !slices.Equal(got, want) {
			t.Errorf("owners of the points at %d are %v, want %v", i, got, want)
		}
	}
}

func TestTrap03NamesDoNotCollide(t *testing.T) {
	t.Parallel()
	names := []Node{{ID: "a"}, {ID: "1a"}, {ID: "a1"}, {ID: "11a"}, {ID: "a11"}, {ID: "a-1"}, {ID: "a_1"}, {ID: "a1-1"}}
	seen := map[uint64]string{}
	for _, n := range names {
		n.Weight = 1
		for h := range n.points(1000) {
			if other, ok := seen[h]; ok {
				t.Fatalf("%q and %q share the point %#x", other, n.ID, h)
			}
			seen[h] = n.ID
		}
	}
	for _, kind := range kinds {
		table := kind.mustMake(t, names[:2])
		count := 0
		const keys = 20_000
		for i := range keys {
			count += table.Lookup(testHash(i))
		}
		if share := float64(count) / keys; share < 0.4 || share > 0.6 {
			t.Errorf("%s: a node has %.2f of the keys, want about half", kind.name, share)
		}
	}
}

func TestTrap04MaglevSizeIsFixed(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 10, 100, 1000, 5000} {
		m, err := NewMaglev(numbered(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(m.table), 65537; got != want {
			t.Errorf("with %d nodes the table has %d entries, want %d", n, got, want)
		}
		seen := make([]int, n)
		for _, node := range m.table {
			seen[node]++
		}
		if low, high := slices.Min(seen), slices.Max(seen); low < 65537/n || high > 65537/n+1 {
			t.Errorf("with %d nodes they have %d to %d entries, want %d or one more", n, low, high, 65537/n)
		}
	}
}

func TestTrap05RemoveAbsentAndRestore(t *testing.T) {
	t.Parallel()
	ring := mustRing(t, mixed(20, true), nil)
	if got, err := ring.Remove("absent"); got != ring || err != nil {
		t.Errorf("Remove of an absent node = %p, %v, want %p and no error", got, err, ring)
	}
	for _, n := range ring.Nodes() {
		without, err := ring.Remove(n.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, found := find(without.Nodes(), n.ID); found || len(without.Nodes()) != 19 {
			t.Fatalf("after Remove(%q) the nodes are %v", n.ID, without.Nodes())
		}
		again, err := without.Add(n)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(again.points, ring.points) || !slices.Equal(again.owners, ring.owners) ||
			!slices.Equal(again.index, ring.index) || !slices.Equal(again.nodes, ring.nodes) {
			t.Fatalf("after removing and adding %q the ring is another", n.ID)
		}
	}

	jump, err := NewJump(numbered(20))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := jump.Remove("absent"); got != jump || err != nil {
		t.Errorf("Remove of an absent node = %p, %v, want %p and no error", got, err, jump)
	}
	without, err := jump.Remove("node-19")
	if err != nil {
		t.Fatal(err)
	}
	again, err := without.Add(Node{ID: "node-19"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.nodes, jump.nodes) || !slices.Equal(again.order, jump.order) {
		t.Error("after removing and adding the last node the jump is another")
	}
	// A node that has come and gone leaves the others as they were, though slots may
	// have changed places between them.
	slots, err := NewSlots(numbered(20), nil)
	if err != nil {
		t.Fatal(err)
	}
	larger, away, err := slots.Rebalance(numbered(21))
	if err != nil {
		t.Fatal(err)
	}
	smaller, back, err := larger.Rebalance(numbered(20))
	if err != nil {
		t.Fatal(err)
	}
	moved := make(map[int]bool)
	for _, m := range away {
		moved[m.Slot] = true
	}
	if len(back) != len(away) {
		t.Errorf("%d slots moved to the node, and %d back", len(away), len(back))
	}
	for slot := range slots.Len() {
		if got, want := smaller.Owner(slot), slots.Owner(slot); got != want && !moved[slot] {
			t.Fatalf("slot %d, which stayed, is at %d, want %d", slot, got, want)
		}
	}
}

func TestTrap06MovementOnlyToOrFromTheChangedNode(t *testing.T) {
	t.Parallel()
	const keys = 20_000
	for _, kind := range kinds {
		if kind.name == "maglev" || kind.name == "slots" { // see TestSlotsRebalance
			continue
		}
		for _, n := range []int{1, 2, 10, 99} {
			small, large := kind.mustMake(t, numbered(n)), kind.mustMake(t, numbered(n+1))
			changed := fmt.Sprintf("node-%d", n)
			moved := 0
			for i := range keys {
				was, is := owner(small, testHash(i)), owner(large, testHash(i))
				if was == is {
					continue
				}
				if moved++; is != changed {
					t.Fatalf("%s: adding %s moves hash %#x from %s to %s", kind.name, changed, testHash(i), was, is)
				}
			}
			if ideal := keys / (n + 1); moved < ideal/2 || moved > 2*ideal {
				t.Errorf("%s: adding %s moves %d keys, want about %d", kind.name, changed, moved, ideal)
			}
		}
	}
	for _, kind := range kinds[:3] {
		if kind.name == "maglev" {
			continue
		}
		nodes := mixed(12, true)
		before := kind.mustMake(t, nodes)
		nodes[7].Weight += 2
		after := kind.mustMake(t, nodes)
		for i := range keys {
			if was, is := owner(before, testHash(i)), owner(after, testHash(i)); was != is && is != nodes[7].ID {
				t.Fatalf("%s: more weight for %s moves hash %#x from %s to %s", kind.name, nodes[7].ID, testHash(i), was, is)
			}
		}
	}
}

func TestTrap07Weights(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		table := kind.mustMake(t, []Node{{ID: "b"}, {ID: "a", Weight: 1}})
		if want := []Node{{ID: "a", Weight: 1}, {ID: "b", Weight: 1}}; !slices.Equal(table.Nodes(), want) {
			t.Errorf("%s: Nodes() = %v, want %v", kind.name, table.Nodes(), want)
		}
		for weight, want := range map[int]string{
			-1:            "shard: nodes[1].Weight is -1, want >= 0",
			MaxWeight + 1: "shard: nodes[1].Weight is 65536, want <= 65535",
		} {
			if _, err := kind.make([]Node{{ID: "a"}, {ID: "b", Weight: weight}}); err == nil || err.Error() != want {
				t.Errorf("%s: error %v, want %s", kind.name, err, want)
			}
		}
		if !kind.weighted {
			want := "shard: nodes[1].Weight is 2, want 0 or 1: a Jump has no weights"
			if _, err := kind.make([]Node{{ID: "a"}, {ID: "b", Weight: 2}}); err == nil || err.Error() != want {
				t.Errorf("%s: error %v, want %s", kind.name, err, want)
			}
			continue
		}
		// The lightest node beside the heaviest is still in every order.
		heavy := MaxWeight
		if kind.name == "ring" {
			heavy = 4096 // which are 655,360 points
		}
		huge := kind.mustMake(t, []Node{{ID: "heavy", Weight: heavy}, {ID: "light"}})
		light := 0
		const keys = 100_000
		for i := range keys {
			light += huge.Lookup(testHash(i))
		}
		if light > 20+2*keys/heavy {
			t.Errorf("%s: %d of %d keys are at the node of weight 1 beside %d", kind.name, light, keys, heavy)
		}
		if got := order(huge, 1); len(got) != 2 {
			t.Errorf("%s: order %v, want both nodes", kind.name, got)
		}
	}
	_, err := NewRing([]Node{{ID: "a", Weight: MaxWeight}}, &RingOptions{Points: 512})
	if want := "shard: the sum of Weight * RingOptions.Points is 33553920, want at most 16777216"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestTrap08NoNodesIsAnError(t *testing.T) {
	t.Parallel()
	tooMany := numbered(MaxNodes + 1)
	for _, kind := range kinds {
		for _, nodes := range [][]Node{nil, {}} {
			if _, err := kind.make(nodes); err == nil || err.Error() != "shard: nodes has 0 elements, want 1 to 65536" {
				t.Errorf("%s: error %v", kind.name, err)
			}
		}
		if _, err := kind.make(tooMany); err == nil || !strings.HasPrefix(err.Error(), "shard: nodes has 65537 elements, want 1 to 65536") {
			t.Errorf("%s: error %v for %d nodes", kind.name, err, len(tooMany))
		}
	}
	full := mustRing(t, numbered(MaxNodes), &RingOptions{Points: 1})
	if _, err := full.Add(Node{ID: "one more"}); err == nil || err.Error() != "shard: the ring has 65536 nodes, which is the most" {
		t.Errorf("error %v for one node more than there can be", err)
	}
	ring := mustRing(t, []Node{{ID: "a"}}, nil)
	if _, err := ring.Remove("a"); err == nil {
		t.Error("the last node of a ring was removed")
	}
	slots, err := NewSlots([]Node{{ID: "a"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := slots.Rebalance(nil); err == nil {
		t.Error("slots were rebalanced to no nodes")
	}
}

func TestConstructorsNameEverythingWrong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 256)
	bad := []Node{{ID: "a"}, {ID: ""}, {ID: "a", Weight: -2}, {ID: long, Zone: long}}
	common := []string{
		`nodes[1].ID is 0 bytes long, want 1 to 255`,
		`nodes[2].ID is "a", want one that no other node has, and nodes[0] has it`,
		`nodes[2].Weight is -2, want >= 0`,
		`nodes[3].ID is 256 bytes long, want 1 to 255`,
		`nodes[3].Zone is 256 bytes long, want at most 255`,
	}
	for name, row := range map[string]struct {
		make func() error
		want string
	}{
		"ring points": {
			func() error { _, err := NewRing(bad, &RingOptions{Points: -1}); return err },
			"RingOptions.Points is -1, want 0 to 16777216",
		},
		"maglev not prime": {
			func() error { _, err := NewMaglev(bad, &MaglevOptions{Size: 65536}); return err },
			"MaglevOptions.Size is 65536, want a prime of at most 16777216",
		},
		"maglev negative": {
			func() error { _, err := NewMaglev(bad, &MaglevOptions{Size: -7}); return err },
			"MaglevOptions.Size is -7, want a prime of at most 16777216",
		},
		"maglev too small": {
			func() error { _, err := NewMaglev(bad, &MaglevOptions{Size: 3}); return err },
			"MaglevOptions.Size is 3, want at least the number of nodes, 4",
		},
		"slots too few": {
			func() error { _, err := NewSlots(bad, &SlotsOptions{Slots: 3}); return err },
			"SlotsOptions.Slots is 3, want at least the number of nodes, 4",
		},
		"slots negative": {
			func() error { _, err := NewSlots(bad, &SlotsOptions{Slots: -1}); return err },
			"SlotsOptions.Slots is -1, want 1 to 16777216",
		},
		"slots owners": {
			func() error {
				_, err := NewSlots(bad, &SlotsOptions{Slots: 9, Owners: []string{"a"}})
				return err
			},
			"SlotsOptions.Owners has 1 elements, want 9, as many as slots",
		},
	} {
		err := row.make()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		for _, want := range append(slices.Clone(common), row.want) {
			if !slices.Contains(lines, "shard: "+want) {
				t.Errorf("%s: error\n%v\nwant a line %q", name, err, "shard: "+want)
			}
		}
		if len(lines) != len(common)+1 {
			t.Errorf("%s: error has %d lines, want %d:\n%v", name, len(lines), len(common)+1, err)
		}
	}
	_, err := NewSlots([]Node{{ID: "a"}}, &SlotsOptions{Owners: []string{"a", "b"}})
	if want := `shard: SlotsOptions.Owners[1] is "b", want the ID of a node`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	// Each is named once, however many slots it has.
	_, err = NewSlots([]Node{{ID: "a"}}, &SlotsOptions{Owners: []string{"a", "c", "b", "c", "a", "b", "c"}})
	if want := `shard: SlotsOptions.Owners[1] is "c", want the ID of a node: it has 3 slots` + "\n" +
		`shard: SlotsOptions.Owners[2] is "b", want the ID of a node: it has 2 slots`; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestAddAndRemoveRefuse(t *testing.T) {
	t.Parallel()
	ring := mustRing(t, numbered(3), nil)
	for _, n := range []Node{{ID: "node-1"}, {ID: ""}, {ID: "x", Weight: -1}} {
		if _, err := ring.Add(n); err == nil {
			t.Errorf("ring: no error for %+v", n)
		}
	}
	jump, err := NewJump(numbered(11))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []Node{{ID: "node-9"}, {ID: "node-10"}, {ID: "zzz"}, {ID: "node-11", Weight: 3}} {
		if _, err := jump.Add(n); err == nil {
			t.Errorf("jump: no error for %+v", n)
		}
	}
	if _, err := jump.Remove("node-9"); err == nil {
		t.Error("jump: removed a node that is not the last")
	}
	more, err := jump.Add(Node{ID: "node-11"})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"node-11", "node-10"} {
		if more, err = more.Remove(id); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(more.Nodes()); got != 10 {
		t.Errorf("%d nodes remain, want 10", got)
	}
	if single, err := NewJump(numbered(1)); err != nil {
		t.Fatal(err)
	} else if _, err := single.Remove("node-0"); err == nil {
		t.Error("jump: removed the only node")
	}
	heavy := mustRing(t, numbered(1), &RingOptions{Points: 1024})
	if _, err := heavy.Add(Node{ID: "heavy", Weight: MaxWeight}); err == nil {
		t.Error("ring: no error for too many points")
	}
	few, err := NewSlots(numbered(3), &SlotsOptions{Slots: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := few.Rebalance(numbered(4)); err == nil {
		t.Error("slots: no error for more nodes than slots")
	}
}
