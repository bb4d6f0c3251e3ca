package shard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// planTables are pairs of tables: before and after.
func planTables(tb testing.TB) map[string][2]Table {
	tb.Helper()
	few, many := numbered(5), numbered(6)
	for i := range many {
		many[i].Weight = 1 + i%3
	}
	slots, err := NewSlots(few, &SlotsOptions{Slots: 1000})
	if err != nil {
		tb.Fatal(err)
	}
	more, _, err := slots.Rebalance(many)
	if err != nil {
		tb.Fatal(err)
	}
	maglev := func(nodes []Node) Table {
		m, err := NewMaglev(nodes, nil)
		if err != nil {
			tb.Fatal(err)
		}
		return m
	}
	one := []Node{{ID: "only"}}
	return map[string][2]Table{
		"ring grows":    {mustRing(tb, few, nil), mustRing(tb, numbered(6), nil)},
		"ring shrinks":  {mustRing(tb, many, nil), mustRing(tb, many[1:], nil)},
		"ring points":   {mustRing(tb, few, nil), mustRing(tb, few, &RingOptions{Points: 7})},
		"same":          {mustRing(tb, few, nil), mustRing(tb, few, nil)},
		"slots grow":    {slots, more},
		"ring to slots": {mustRing(tb, few, nil), more},
		"slots to ring": {more, mustRing(tb, few, nil)},
		"maglev":        {maglev(few), maglev(numbered(6))},
		"everything":    {mustRing(tb, one, nil), mustRing(tb, few, nil)},
	}
}

func TestPlanIsWhatTheTablesSay(t *testing.T) {
	t.Parallel()
	for name, tables := range planTables(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := tables[0], tables[1]
			plan, err := NewPlan(from, to)
			if err != nil {
				t.Fatal(err)
			}
			check := func(hash uint64) {
				t.Helper()
				want := ""
				if a, b := owner(from, hash), owner(to, hash); a != b {
					want = a + " -> " + b
				}
				got := ""
				if i := plan.step(hash); i >= 0 {
					s := plan.Steps()[i]
					if !s.Contains(hash) {
						t.Fatalf("step %v does not contain %x", s, hash)
					}
					got = s.From + " -> " + s.To
				}
				if got != want {
					t.Fatalf("hash %x: got move %q, want %q", hash, got, want)
				}
			}
			for i, s := range plan.Steps() {
				if i > 0 && s.First <= plan.Steps()[i-1].Last {
					t.Fatalf("steps %d and %d overlap", i-1, i)
				}
				for _, edge := range []uint64{s.First, s.Last} {
					check(edge - 1)
					check(edge)
					check(edge + 1)
				}
			}
			check(0)
			check(math.MaxUint64)
			for i := range 20_000 {
				check(testHash(i))
			}
			if got, want := plan.Moved(), Diff(from, to).Moved; math.Abs(got-want) > 0.01 {
				t.Errorf("Moved() = %v, want about %v", got, want)
			}
		})
	}
}

// Every slot that moves is in the plan as a whole, and nothing else is.
func TestPlanAgreesWithRebalance(t *testing.T) {
	t.Parallel()
	const count = 1000 // does not divide 2^64
	slots, err := NewSlots(numbered(7), &SlotsOptions{Slots: count})
	if err != nil {
		t.Fatal(err)
	}
	to, moves, err := slots.Rebalance(numbered(8))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(slots, to)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := plan.Moved(), float64(len(moves))/count; math.Abs(got-want) > 1e-12 {
		t.Errorf("Moved() = %v, want %v", got, want)
	}
	first := func(slot int) uint64 { // the first hash whose slot is not below
		low, high := uint64(0), uint64(math.MaxUint64)
		for low < high {
			middle := low + (high-low)/2
			if slots.Slot(middle) < slot {
				low = middle + 1
			} else {
				high = middle
			}
		}
		return low
	}
	for _, m := range moves {
		i := plan.step(first(m.Slot))
		if i < 0 {
			t.Fatalf("slot %d moves, and the plan leaves it", m.Slot)
		}
		s := plan.Steps()[i]
		last := uint64(math.MaxUint64)
		if m.Slot+1 < count {
			last = first(m.Slot+1) - 1
		}
		if s.From != m.From || s.To != m.To || !s.Contains(first(m.Slot)) || !s.Contains(last) {
			t.Fatalf("got step %v, want one with all of %+v", s, m)
		}
	}
}

func TestPlanMovesTheIdealOnly(t *testing.T) {
	t.Parallel()
	before := mustRing(t, numbered(10), nil)
	after, err := before.Add(Node{ID: "new"})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := NewPlan(before, after)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range plan.Steps() {
		if s.To != "new" {
			t.Fatalf("step %v does not go to the new node", s)
		}
	}
	back, err := NewPlan(after, before)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := back.Moved(), plan.Moved(); got != want {
		t.Errorf("the way back moves %v, want %v", got, want)
	}
	if plan.fingerprint == back.fingerprint {
		t.Error("both ways have one fingerprint")
	}
}

func TestPlanRefusesOtherTables(t *testing.T) {
	t.Parallel()
	rendezvous, err := NewRendezvous(numbered(2))
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewPlan(rendezvous, nil)
	want := "shard: from is a *shard.Rendezvous, want a *Ring, *Slots or *Maglev: others do not give ranges of hashes to nodes\n" +
		"shard: to is nil, want a table with nodes"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
	var none *Ring
	_, err = NewPlan(none, &Slots{})
	want = "shard: from is a nil *shard.Ring, want a table with nodes\n" +
		"shard: to is a *shard.Slots without nodes, want one with nodes"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

// Of equal points, that of the smaller ID counts in a plan as it does in a lookup.
func TestPlanOfEqualPoints(t *testing.T) {
	t.Parallel()
	before := twins(t, "b", "c")
	after := mustRing(t, []Node{{ID: "a"}}, &RingOptions{Points: 4})
	for _, tables := range [][2]Table{{before, after}, {after, before}} {
		plan, err := NewPlan(tables[0], tables[1])
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range plan.Steps() {
			for _, hash := range []uint64{s.First, s.Last} {
				if s.From != owner(tables[0], hash) || s.To != owner(tables[1], hash) {
					t.Errorf("step %v, want %s -> %s", s, owner(tables[0], hash), owner(tables[1], hash))
				}
			}
		}
		if len(plan.Steps()) != 1 || plan.Moved() != 1 {
			t.Errorf("got %v, want one step with everything", plan.Steps())
		}
	}
}

func TestPlanString(t *testing.T) {
	t.Parallel()
	owners := func(ids string) Table {
		s, err := NewSlots([]Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}, &SlotsOptions{Owners: strings.Split(ids, "")})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, row := range []struct{ from, to, want string }{
		{"abca", "abca", "no key moves\n"},
		{"aaaa", "bbbb", "100.000% of all keys move, in 1 range\n  a -> b: 100.000%, in 1 range\n"},
		{"aabbaccc", "abbbbcaa", "50.000% of all keys move, in 3 ranges\n" +
			"  a -> b: 25.000%, in 2 ranges\n  c -> a: 25.000%, in 1 range\n"},
		{"aabbaccc", "abbbbcba", "50.000% of all keys move, in 4 ranges\n" +
			"  a -> b: 25.000%, in 2 ranges\n  c -> a: 12.500%, in 1 range\n  c -> b: 12.500%, in 1 range\n"},
	} {
		plan, err := NewPlan(owners(row.from), owners(row.to))
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.String(); got != row.want {
			t.Errorf("%s to %s: got\n%swant\n%s", row.from, row.to, got, row.want)
		}
	}
}

func TestRange(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		r    Range
		want float64
	}{
		{Range{0, math.MaxUint64}, 1},
		{Range{0, 1<<63 - 1}, 0.5},
		{Range{5, 5}, 1.0 / (1 << 64)},
	} {
		if got := row.r.Share(); got != row.want {
			t.Errorf("%v.Share() = %v, want %v", row.r, got, row.want)
		}
	}
	if got, want := fmt.Sprint(Range{1, 255}), "[0000000000000001, 00000000000000ff]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzPlan compares plans between random lists of slots with their lookups.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{0, 1, 2}, []byte{2, 2, 1, 0, 1})
	f.Add([]byte{0, 0, 0, 0}, []byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, before, after []byte) {
		table := func(owners []byte) Table {
			if len(owners) < 4 || len(owners) > 1000 {
				return nil
			}
			o := &SlotsOptions{}
			for _, b := range owners {
				o.Owners = append(o.Owners, fmt.Sprintf("node-%d", b%4))
			}
			s, err := NewSlots(numbered(4), o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		from, to := table(before), table(after)
		if from == nil || to == nil {
			return
		}
		plan, err := NewPlan(from, to)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			hash := random.Uint64()
			want := owner(from, hash) != owner(to, hash)
			if got := plan.step(hash) >= 0; got != want {
				t.Fatalf("hash %x: got moved %t, want %t", hash, got, want)
			}
		}
	})
}
