package shard

import (
	"math"
	"testing"
)

func TestDiffOfEqualTablesIsNothing(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		d := Diff(k.mustMake(t, numbered(7)), k.mustMake(t, numbered(7)))
		if d.Moved != 0 || d.Ideal != 0 || len(d.Flows) != 0 {
			t.Errorf("%s: got %+v, want nothing", k.name, d)
		}
	}
}

func TestDiffSaysWhatMovesWhere(t *testing.T) {
	t.Parallel()
	ring := mustRing(t, numbered(10), nil)
	bigger, err := ring.Add(Node{ID: "new"})
	if err != nil {
		t.Fatal(err)
	}
	d := Diff(ring, bigger)
	if want := 1.0 / 11; math.Abs(d.Ideal-want) > 1e-9 {
		t.Errorf("ideal is %v, want %v", d.Ideal, want)
	}
	if d.Moved < 0.7*d.Ideal || d.Moved > 1.3*d.Ideal {
		t.Errorf("moved is %v, want about %v", d.Moved, d.Ideal)
	}
	sum, last := 0.0, 1.0
	for _, f := range d.Flows {
		if f.To != "new" || f.From == "new" {
			t.Errorf("%v, want only moves to the new node", f)
		}
		if f.Share > last {
			t.Errorf("%v after a share of %v, want the largest first", f, last)
		}
		last = f.Share
		sum += f.Share
	}
	if math.Abs(sum-d.Moved) > 1e-9 {
		t.Errorf("the flows are %v together, want %v", sum, d.Moved)
	}
	back := Diff(bigger, ring)
	if back.Moved != d.Moved || len(back.Flows) != len(d.Flows) {
		t.Errorf("back: %v in %d flows, want %v in %d", back.Moved, len(back.Flows), d.Moved, len(d.Flows))
	}
}

// The estimate is compared with what a million other hashes do.
func TestDiffIsAsExactAsItSays(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		from, to := k.mustMake(t, numbered(20)), k.mustMake(t, numbered(22))
		const n = 1 << 20
		moved := 0
		for i := range n {
			if h := testHash(i); owner(from, h) != owner(to, h) {
				moved++
			}
		}
		truth := float64(moved) / n
		sigma := math.Sqrt(truth * (1 - truth) * (1.0/diffSamples + 1.0/n))
		if got := Diff(from, to).Moved; math.Abs(got-truth) > 5*sigma {
			t.Errorf("%s: moved is %v, want %v +- %v", k.name, got, truth, 5*sigma)
		}
	}
}

func TestIdealCountsWeights(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		before, after []Node
		want          float64
	}{
		{"a weight grows", []Node{{ID: "a"}, {ID: "b"}}, []Node{{ID: "a", Weight: 3}, {ID: "b"}}, 0.25},
		{"all are replaced", []Node{{ID: "a"}}, []Node{{ID: "b"}}, 1},
		{"one is removed", []Node{{ID: "a"}, {ID: "b"}, {ID: "c", Weight: 2}}, []Node{{ID: "a"}, {ID: "b"}}, 0.5},
	} {
		d := Diff(mustRing(t, tt.before, nil), mustRing(t, tt.after, nil))
		if math.Abs(d.Ideal-tt.want) > 1e-9 {
			t.Errorf("%s: ideal is %v, want %v", tt.name, d.Ideal, tt.want)
		}
		if math.Abs(d.Moved-tt.want) > 0.1 {
			t.Errorf("%s: moved is %v, want about %v", tt.name, d.Moved, tt.want)
		}
	}
}
