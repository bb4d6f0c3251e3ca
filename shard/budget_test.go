package shard

import (
	"testing"
)

// The walks are of concrete types: through the interface Table, the compiler must
// assume that yield escapes.
func TestLookupAndWalkDoNotAllocate(t *testing.T) {
	for _, n := range []int{1, 100, 2000} {
		ring := mustRing(t, numbered(n), nil)
		maglev, err := NewMaglev(numbered(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		weights := numbered(n)
		weights[0].Weight = 3
		rendezvous, err := NewRendezvous(weights)
		if err != nil {
			t.Fatal(err)
		}
		jump, err := NewJump(numbered(n))
		if err != nil {
			t.Fatal(err)
		}
		slots, err := NewSlots(numbered(n), nil)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for name, f := range map[string]func(){
			"Ring.Lookup":       func() { sum += ring.Lookup(Hash("key")) },
			"Ring.Walk":         func() { ring.Walk(Hash("key"), func(node int) bool { sum += node; return true }) },
			"Maglev.Lookup":     func() { sum += maglev.Lookup(Hash("key")) },
			"Maglev.Walk":       func() { maglev.Walk(Hash("key"), func(node int) bool { sum += node; return true }) },
			"Rendezvous.Lookup": func() { sum += rendezvous.Lookup(Hash("key")) },
			"Rendezvous.Walk":   func() { rendezvous.Walk(Hash("key"), func(node int) bool { sum += node; return true }) },
			"Jump.Lookup":       func() { sum += jump.Lookup(Hash("key")) },
			"Jump.Walk":         func() { jump.Walk(Hash("key"), func(node int) bool { sum += node; return true }) },
			"Slots.Lookup":      func() { sum += slots.Lookup(Hash("key")) },
			"Slots.Walk":        func() { slots.Walk(Hash("key"), func(node int) bool { sum += node; return true }) },
		} {
			if got := testing.AllocsPerRun(20, f); got != 0 {
				t.Errorf("%s of %d nodes allocates %v times, want 0", name, n, got)
			}
		}
	}
}
