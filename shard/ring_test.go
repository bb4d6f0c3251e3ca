package shard

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// checkRing compares lookups with a binary search among the points: at each point and
// beside it, at the ends of each interval, and anywhere.
func checkRing(t *testing.T, r *Ring, random *rand.Rand) {
	t.Helper()
	points := r.points[:len(r.points)-1]
	if !slices.IsSorted(points) {
		t.Fatal("the points are not sorted")
	}
	check := func(hash uint64) {
		t.Helper()
		at, _ := slices.BinarySearch(points, hash)
		want := int(r.owners[at%len(points)])
		if got := r.Lookup(hash); got != want {
			t.Fatalf("%d nodes, %d points: hash %#x is at %d, want %d", len(r.nodes), len(points), hash, got, want)
		}
		r.Walk(hash, func(got int) bool {
			if got != want {
				t.Fatalf("%d nodes, %d points: the walk of %#x begins with %d, want %d", len(r.nodes), len(points), hash, got, want)
			}
			return false
		})
	}
	for _, h := range r.points {
		check(h - 1)
		check(h)
		check(h + 1)
		check(h ^ 1<<random.IntN(64))
	}
	for i := range uint64(1) << r.width {
		check(i << (64 - r.width))
		check(i<<(64-r.width) - 1)
	}
	for range 1000 {
		check(random.Uint64())
	}
}

func TestRingLinesAgreeWithThePoints(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, unit := range []int{1, 2, 3, 10, 11, 64, 160} {
		for _, n := range []int{1, 2, 3, 17, 100} {
			nodes := numbered(n)
			for i := range nodes {
				nodes[i].Weight = random.IntN(4)
			}
			ring := mustRing(t, nodes, &RingOptions{Points: unit})
			checkRing(t, ring, random)
			more, err := ring.Add(Node{ID: "more", Weight: 3})
			if err != nil {
				t.Fatal(err)
			}
			checkRing(t, more, random)
			other, err := more.Remove("node-0")
			if err != nil {
				t.Fatal(err)
			}
			checkRing(t, other, random)
		}
	}
}

// Points that crowd into few intervals have no room in their lines, and some are
// equal, or equal as far as their lines know.
func TestRingLinesOfACrowd(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	for trial := range 300 {
		nodes, err := checked(numbered(2 + random.IntN(30)))
		if err != nil {
			t.Fatal(err)
		}
		unit := 1 + random.IntN(20)
		r := newEmptyRing(nodes, unit, len(nodes)*unit)
		type point struct {
			hash  uint64
			owner uint16
		}
		var points []point
		base, spread := random.Uint64(), uint64(math.MaxUint64)>>random.IntN(60)
		if trial%5 == 0 {
			base = math.MaxUint64 // the crowd ends where the hashes do
		}
		for i := range len(nodes) * unit {
			points = append(points, point{base&^spread | random.Uint64()&spread, uint16(i / unit)})
		}
		slices.SortFunc(points, func(a, b point) int {
			return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.owner, b.owner))
		})
		for i, p := range points {
			r.points[i], r.owners[i] = p.hash, p.owner
		}
		r.finish()
		checkRing(t, r, random)
	}
}
