package shard

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func FuzzConstructors(f *testing.F) {
	f.Add([]byte("a,b,c"), int16(0), int16(1))
	f.Add([]byte("a,a,,d"), int16(-1), int16(-300))
	f.Add([]byte("1a,a1,a"), int16(101), int16(7))
	f.Fuzz(func(t *testing.T, ids []byte, size, weight int16) {
		var nodes []Node
		for i, id := range bytes.Split(ids[:min(len(ids), 1000)], []byte(",")) {
			nodes = append(nodes, Node{ID: string(id), Weight: int(weight) % 50 * (i % 3)})
		}
		for _, construct := range []func() (Table, error){
			func() (Table, error) { return NewRing(nodes, &RingOptions{Points: int(size) % 64}) },
			func() (Table, error) { return NewMaglev(nodes, &MaglevOptions{Size: int(size)}) },
			func() (Table, error) { return NewRendezvous(nodes) },
			func() (Table, error) { return NewJump(nodes) },
			func() (Table, error) { return NewSlots(nodes, &SlotsOptions{Slots: int(size)}) },
		} {
			table, err := construct()
			if err != nil {
				for line := range strings.Lines(err.Error()) {
					if !strings.HasPrefix(line, "shard: ") || !strings.Contains(line, "want") {
						t.Errorf("error line %q", line)
					}
				}
				continue
			}
			if !slices.IsSortedFunc(table.Nodes(), func(a, b Node) int { return strings.Compare(a.ID, b.ID) }) {
				t.Errorf("%T: nodes are not sorted: %v", table, table.Nodes())
			}
			for i := range 10 {
				hash := testHash(i)
				got := order(table, hash)
				if got[0] != owner(table, hash) {
					t.Errorf("%T: order %v, owner %q", table, got, owner(table, hash))
				}
				slices.Sort(got)
				if unique := slices.Compact(got); len(unique) != len(nodes) {
					t.Errorf("%T: %d of %d nodes in the order", table, len(unique), len(nodes))
				}
			}
		}
	})
}
