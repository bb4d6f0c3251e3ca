package shard

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/uprung/uprung"
)

// valued returns n entries whose values are the numbers of their nodes.
func valued(n int) []Entry[int] {
	entries := make([]Entry[int], n)
	for i, node := range numbered(n) {
		entries[i] = Entry[int]{Node: node, Value: i}
	}
	return entries
}

func mustMap[T any](tb testing.TB, entries []Entry[T], o *MapOptions) *Map[T] {
	tb.Helper()
	m, err := NewMap(entries, o)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// asTable makes a MapOptions.Table of a kind of table.
func (k kind) asTable(nodes []Node, _ Table) (Table, error) { return k.make(nodes) }

func TestMapGivesWhatTheTableSays(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		entries := valued(12)
		slices.Reverse(entries) // the order in which they are given does not matter
		m := mustMap(t, entries, &MapOptions{Table: k.asTable})
		table := k.mustMake(t, numbered(12))
		for i := range 1000 {
			key := strconv.Itoa(i)
			want := owner(table, Hash(key))
			value, err := m.Get(key)
			if got := fmt.Sprintf("node-%d", value); got != want || err != nil {
				t.Fatalf("%s: Get(%q) is of %s, %v, want %s", k.name, key, got, err, want)
			}
			entry, err := m.Entry(key)
			if entry.Node.ID != want || entry.Value != value || err != nil {
				t.Fatalf("%s: Entry(%q) is %v, %v, want %s", k.name, key, entry, err, want)
			}
			if got, err := m.Spread(key); got != value || err != nil {
				t.Fatalf("%s: Spread(%q) is %d, %v, want %d", k.name, key, got, err, value)
			}
		}
	}
}

func TestTrap08MapWithoutNodes(t *testing.T) {
	t.Parallel()
	m := mustMap[int](t, nil, nil)
	dst := []Entry[int]{{Value: 7}}
	_, getErr := m.Get("a")
	_, entryErr := m.Entry("a")
	_, spreadErr := m.Spread("a")
	got, getNErr := m.GetN(dst, "a", 3)
	for i, err := range []error{getErr, entryErr, spreadErr, getNErr} {
		if !errors.Is(err, ErrNoNodes) {
			t.Errorf("lookup %d: error is %v, want %v", i, err, ErrNoNodes)
		}
	}
	if len(got) != 1 || got[0].Value != 7 {
		t.Errorf("GetN returned %v, want dst as it was", got)
	}
	if m.Table() != nil || len(m.Entries()) != 0 {
		t.Errorf("table is %v with %v, want none", m.Table(), m.Entries())
	}
	if d, err := m.Preview(valued(3)); err != nil || d.Moved != 0 {
		t.Errorf("Preview from nothing: %v, %v", d, err)
	}
	if err := m.Set(valued(3)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Get("a"); err != nil {
		t.Errorf("after Set: %v", err)
	}
	if err := m.Set(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Get("a"); !errors.Is(err, ErrNoNodes) {
		t.Errorf("after Set(nil): %v", err)
	}
}

func TestMapRefusesWhatIsWrongAndKeepsWhatItHad(t *testing.T) {
	t.Parallel()
	m := mustMap(t, valued(3), nil)
	bad := []Entry[int]{{Node: Node{ID: "a", Weight: -1}}, {Node: Node{ID: "b"}}, {Node: Node{ID: "b"}}}
	for name, call := range map[string]func() error{
		"Set":     func() error { return m.Set(bad) },
		"NewMap":  func() error { _, err := NewMap(bad, nil); return err },
		"Preview": func() error { _, err := m.Preview(bad); return err },
	} {
		err := call()
		if err == nil || !strings.Contains(err.Error(), "nodes[0].Weight is -1") || !strings.Contains(err.Error(), "nodes[2].ID") {
			t.Errorf("%s: error is %v, want one that names nodes[0].Weight and nodes[2].ID", name, err)
		}
	}
	if got := len(m.Entries()); got != 3 {
		t.Errorf("%d entries after a Set that failed, want 3", got)
	}
	var none *Ring
	three, two := mustRing(t, numbered(3), nil), mustRing(t, numbered(2), nil)
	for want, table := range map[string]Table{
		"shard: MapOptions.Table returned nil, want a table with nodes":                               nil,
		"shard: MapOptions.Table returned a nil *shard.Ring, want a table with nodes":                 none,
		"shard: MapOptions.Table returned a *shard.Slots without nodes, want one with nodes":          &Slots{},
		"shard: MapOptions.Table returned a shard.weightless with node-0 of weight 0, want 1 or more": weightless{three},
		"shard: MapOptions.Table returned a table of other nodes than it was given":                   two,
	} {
		_, err := NewMap(valued(3), &MapOptions{Table: func([]Node, Table) (Table, error) { return table, nil }})
		if err == nil || err.Error() != want {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
	_, err := NewMap(bad, &MapOptions{Name: "naïve"})
	if err == nil || !strings.Contains(err.Error(), "MapOptions.Name") || !strings.Contains(err.Error(), "Weight") {
		t.Errorf("error is %v, want one that names MapOptions.Name and Weight", err)
	}
}

// What is derived from the previous table moves the least, also when changes
// overlap.
func TestMapDerivesTablesFromThePrevious(t *testing.T) {
	t.Parallel()
	m := mustMap(t, valued(10), &MapOptions{Table: func(nodes []Node, previous Table) (Table, error) {
		if slots, ok := previous.(*Slots); ok {
			next, _, err := slots.Rebalance(nodes)
			return next, err
		}
		return NewSlots(nodes, nil)
	}})
	before := m.Table()
	d, err := m.Preview(valued(11))
	if err != nil {
		t.Fatal(err)
	}
	if d.Moved > d.Ideal+0.001 {
		t.Errorf("moved %v, want at most %v", d.Moved, d.Ideal)
	}
	if m.Table() != before {
		t.Error("Preview changed the map")
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if err := m.Set(valued(11 + i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := m.Stats(); got.Sets != 4 || got.Nodes < 11 || got.Nodes > 14 {
		t.Errorf("stats are %+v, want 4 sets and 11 to 14 nodes", got)
	}
}

// Of changes that overlap, each is derived from the table that it takes the place of.
func TestSetIsDerivedFromWhatItReplaces(t *testing.T) {
	t.Parallel()
	type link struct{ Table }
	var previous sync.Map // of each table
	m := mustMap(t, valued(2), &MapOptions{Table: func(nodes []Node, before Table) (Table, error) {
		ring, err := NewRing(nodes, &RingOptions{Points: 1})
		if err != nil {
			return nil, err
		}
		table := &link{ring}
		previous.Store(table, before)
		runtime.Gosched()
		return table, nil
	}})
	const workers, each = 4, 100
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := m.Set(valued(2)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	sets := -1 // the first table is that of NewMap
	for at := m.Table(); at != nil; sets++ {
		before, _ := previous.Load(at)
		at, _ = before.(Table)
	}
	if sets != workers*each {
		t.Errorf("%d tables were derived from one another, want %d", sets, workers*each)
	}
}

func TestMapFindsNodesByID(t *testing.T) {
	t.Parallel()
	m := mustMap(t, valued(12), nil)
	for _, want := range m.Entries() {
		if got, ok := m.Node(want.Node.ID); !ok || got != want {
			t.Errorf("Node(%q) = %v, %t, want %v", want.Node.ID, got, ok, want)
		}
	}
	for _, id := range []string{"", "node-12", "node-", "zzz"} {
		if got, ok := m.Node(id); ok || got != (Entry[int]{}) {
			t.Errorf("Node(%q) = %v, %t, want none", id, got, ok)
		}
	}
	if err := m.Set(nil); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.Node("node-0"); ok {
		t.Error("a map without entries has node-0")
	}
}

// pickedSlowly is GetN as it is described: all nodes in order, first those in new
// zones, then the others.
func pickedSlowly(table Table, hash uint64, n int) []string {
	var first, rest []string
	zones := make(map[string]bool)
	table.Walk(hash, func(i int) bool {
		node := table.Nodes()[i]
		if node.Zone != "" && zones[node.Zone] {
			rest = append(rest, node.ID)
		} else {
			zones[node.Zone] = true
			first = append(first, node.ID)
		}
		return true
	})
	all := append(first, rest...)
	return all[:min(n, len(all))]
}

func TestTrap10ReplicasAreDistinctAndSpreadOverZones(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		for zones := range 6 {
			entries := valued(9)
			for i := range entries {
				if zones > 0 {
					entries[i].Node.Zone = string(rune('a' + i%zones))
				}
				if zones == 5 && i < 3 {
					entries[i].Node.Zone = ""
				}
			}
			m := mustMap(t, entries, &MapOptions{Table: k.asTable})
			for n := range 12 {
				for i := range 50 {
					key := strconv.Itoa(i)
					got, err := m.GetN(nil, key, n)
					if err != nil {
						t.Fatal(err)
					}
					var ids []string
					for _, e := range got {
						ids = append(ids, e.Node.ID)
					}
					if want := pickedSlowly(m.Table(), Hash(key), n); !slices.Equal(ids, want) {
						t.Fatalf("%s, %d zones: GetN(%q, %d) is %v, want %v", k.name, zones, key, n, ids, want)
					}
					if home, _ := m.Entry(key); n > 0 && got[0] != home {
						t.Fatalf("%s: the first is %v, want %v", k.name, got[0], home)
					}
				}
			}
		}
	}
	m := mustMap(t, valued(3), nil)
	if got, err := m.GetN(nil, "a", -1); len(got) != 0 || err != nil {
		t.Errorf("GetN of -1 is %v, %v, want nothing", got, err)
	}
}

// In generation g, every value is g, and there are g%5+1 nodes.
func TestTrap11ReadersSeeAWholeSnapshot(t *testing.T) {
	t.Parallel()
	generation := func(g int) []Entry[int] {
		entries := valued(g%5 + 1)
		for i := range entries {
			entries[i].Value = g
		}
		return entries
	}
	m := mustMap(t, generation(0), &MapOptions{Table: func(nodes []Node, _ Table) (Table, error) {
		return NewRing(nodes, &RingOptions{Points: 4})
	}})
	const last = 500
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			var dst []Entry[int]
			for seen := 0; seen < last; {
				var err error
				if dst, err = m.GetN(dst[:0], "key", 10); err != nil {
					t.Error(err)
					return
				}
				g := dst[0].Value
				if g < seen || len(dst) != g%5+1 {
					t.Errorf("after generation %d: %v", seen, dst)
					return
				}
				for _, e := range dst {
					if e.Value != g {
						t.Errorf("two generations at once: %v", dst)
						return
					}
				}
				seen = g
				if v, err := m.Get("key"); v < seen || err != nil {
					t.Errorf("Get is %d, %v after generation %d", v, err, seen)
					return
				}
			}
		})
	}
	for g := range last {
		if err := m.Set(generation(g + 1)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func TestMapDoesNotAllocate(t *testing.T) {
	hot := uprung.Must(NewHot(nil))
	for name, o := range map[string]*MapOptions{"plain": nil, "hot": {Hot: hot}} {
		entries := valued(100)
		for i := range entries {
			entries[i].Node.Zone = string(rune('a' + i%3))
		}
		m := mustMap(t, entries, o)
		dst := make([]Entry[int], 0, 3)
		for range hotLeast {
			_, _ = m.Get("a-hot-key")
		}
		for call, f := range map[string]func(){
			"Get":           func() { _, _ = m.Get("some-key-of-size") },
			"Entry":         func() { _, _ = m.Entry("some-key-of-size") },
			"Spread":        func() { _, _ = m.Spread("some-key-of-size") },
			"Spread of hot": func() { _, _ = m.Spread("a-hot-key") },
			"GetN":          func() { _, _ = m.GetN(dst, "some-key-of-size", 3) },
			"Node":          func() { _, _ = m.Node("node-7") },
		} {
			if got := testing.AllocsPerRun(1000, f); got != 0 {
				t.Errorf("%s, %s: %v allocations, want 0", name, call, got)
			}
		}
	}
}

// A walk keeps the room that it has grown to, however many nodes are asked for. It is
// looked at without its pool, which may be empty.
func TestWalkDoesNotAllocateTwice(t *testing.T) {
	zone := make([]int, 100)
	for node := range zone {
		zone[node] = node % 2
	}
	for _, n := range []int{3, 9, 20, 100} {
		w := newWalk()
		got := testing.AllocsPerRun(10, func() {
			w.begin(zone, 2, n)
			for node := 0; w.visit(node) && node < len(zone)-1; node++ {
			}
			if got := len(w.all()); got != n {
				t.Fatalf("got %d nodes, want %d", got, n)
			}
		})
		if got != 0 {
			t.Errorf("%d nodes: %v allocations, want 0", n, got)
		}
	}
}

func BenchmarkMapGet(b *testing.B) {
	m := mustMap(b, valued(100), nil)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = m.Get("some-key-of-size")
	}
}

func BenchmarkMapGetHot(b *testing.B) {
	m := mustMap(b, valued(100), &MapOptions{Hot: uprung.Must(NewHot(nil))})
	b.ReportAllocs()
	for b.Loop() {
		_, _ = m.Get("some-key-of-size")
	}
}

func BenchmarkMapGetN(b *testing.B) {
	entries := valued(100)
	for i := range entries {
		entries[i].Node.Zone = string(rune('a' + i%3))
	}
	m := mustMap(b, entries, nil)
	dst := make([]Entry[int], 0, 3)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = m.GetN(dst, "some-key-of-size", 3)
	}
}
