package retry

import (
	"maps"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// TestModel is what the suite hedge runs.
func TestModel(t *testing.T) {
	q, asked := bench.Asked()
	if !asked {
		t.Skip("nobody asks: the suite hedge does")
	}
	if q.Case != stragglersCase {
		t.Fatalf("case is %q, want %q", q.Case, stragglersCase)
	}
	n := requests
	if q.Quick {
		n = quickRequests
	}
	f := inBubble(t, q.Impl, q.Seed, q.Size(n))
	if err := q.Answer(f); err != nil {
		t.Fatal(err)
	}
}

// inBubble returns the figures of an entrant.
func inBubble(t *testing.T, impl string, seed uint64, n int) (f bench.Figures) {
	t.Helper()
	at := slices.Index(names(hedging), impl)
	if at < 0 {
		t.Fatalf("implementation is %q, want one of %q", impl, names(hedging))
	}
	synctest.Test(t, func(t *testing.T) {
		var err error
		if f, err = straggle(t.Context(), hedging[at].wrap, seed, n); err != nil {
			t.Fatal(err)
		}
	})
	return f
}

func TestStragglersRepeat(t *testing.T) {
	t.Parallel()
	const n = 3000
	for _, impl := range names(hedging) {
		f := inBubble(t, impl, 1, n)
		if again := inBubble(t, impl, 1, n); !maps.Equal(f, again) {
			t.Errorf("%s: %v, then %v", impl, f, again)
		}
		if other := inBubble(t, impl, 2, n); maps.Equal(f, other) {
			t.Errorf("%s: another seed gives the same %v", impl, f)
		}
		switch got := f["amplification"]; {
		case impl == none && got != 1:
			t.Errorf("%s: amplification is %v, want 1", impl, got)
		case impl != none && (got < 1.01 || got > 1.15):
			t.Errorf("%s: amplification is %v, want some hedges and not many", impl, got)
		}
	}
}

// TestTakes compares with the quantiles of the mixture.
func TestTakes(t *testing.T) {
	t.Parallel()
	const n = 100_000
	for attempt, off := range map[uint64]int{1: 0, 2: 100} { // more than 3 sigma
		took := make([]time.Duration, n)
		for i := range took {
			took[i] = takes(1, uint64(i), attempt)
		}
		hundred := 0
		for _, d := range took[:oneOf] {
			if d > later {
				hundred++
			}
		}
		if attempt == 1 && hundred != 1 {
			t.Errorf("%d of the first hundred are stragglers, want 1", hundred)
		}
		slices.Sort(took)
		below, _ := slices.BinarySearch(took, later)
		if got, want := n-below, n/oneOf; max(got-want, want-got) > off {
			t.Errorf("attempt %d: %d stragglers, want %d within %d", attempt, got, want, off)
		}
		for _, tt := range []struct{ q, z float64 }{{0.5, 0}, {0.8413, 1}, {0.9772, 2}} {
			want := 1000 * math.Exp(-3.9+0.5*tt.z)
			if got := quantile(took[:below], tt.q); math.Abs(got-want) > 0.02*want {
				t.Errorf("attempt %d: quantile %v of what does not straggle is %v ms, want %v", attempt, tt.q, got, want)
			}
		}
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	sorted := make([]time.Duration, 1000)
	for i := range sorted {
		sorted[i] = time.Duration(i) * time.Millisecond
	}
	for q, want := range map[float64]float64{0: 0, 0.5: 500, 0.95: 950, 0.99: 990, 0.999: 999, 1: 999} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("quantile(%v) is %v, want %v", q, got, want)
		}
	}
}
