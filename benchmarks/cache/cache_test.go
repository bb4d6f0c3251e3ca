package cache

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestBeladyIsTheBest compares it with trying everything, on short traces.
func TestBeladyIsTheBest(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		keys := make([]uint32, 12)
		for i := range keys {
			keys[i] = random.Uint32N(5)
		}
		size := 1 + random.IntN(3)
		if got, want := belady(keys, size), try(keys, nil, size); got != want {
			t.Errorf("belady(%v, %d) is %d, want %d", keys, size, got, want)
		}
	}
}

// try returns the most hits that there can be.
func try(keys, inside []uint32, size int) int {
	if len(keys) == 0 {
		return 0
	}
	if slices.Contains(inside, keys[0]) {
		return 1 + try(keys[1:], inside, size)
	}
	best := try(keys[1:], inside, size) // it is not taken
	if len(inside) < size {
		return max(best, try(keys[1:], append(slices.Clone(inside), keys[0]), size))
	}
	for i := range inside {
		other := slices.Clone(inside)
		other[i] = keys[0]
		best = max(best, try(keys[1:], other, size))
	}
	return best
}

func TestTracesAreWhatTheySay(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][2]int{"web12": {95_607, 13_756}, "orm-busy": {500_000, 33_006}} {
		for _, tr := range traces() {
			if tr.name != name {
				continue
			}
			keys, err := tr.make(1)
			if err != nil {
				t.Fatal(err)
			}
			if got := [2]int{len(keys), distinct(keys)}; got != want {
				t.Errorf("%s has %d requests for %d keys, want %v", name, got[0], got[1], want)
			}
		}
	}
}

// TestPlayersCache makes sure that nobody is measured who does not keep what fits.
func TestPlayersCache(t *testing.T) {
	t.Parallel()
	for _, p := range players() {
		request, end, err := p.make(1000, 1)
		if err != nil {
			t.Fatal(err)
		}
		hits := 0
		count := func() {
			for key := range uint32(100) {
				if request(key) {
					hits++
				}
			}
		}
		count()
		hits = 0
		switch p.name {
		case "theine", "ristretto": // they set by and by, and the latter drops some
			for deadline := time.Now().Add(5 * time.Second); hits == 0 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
				count()
			}
			if hits == 0 {
				t.Errorf("%s: of what fits nothing is a hit after 5s", p.name)
			}
		default:
			if count(); hits != 100 {
				t.Errorf("%s: of 100 requests for what fits %d were hits", p.name, hits)
			}
		}
		end()
	}
}
