package shard

import (
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

var tables = []string{"ring", "maglev", "rendezvous", "slots", "jump"}

// TestEntrantsRoute makes sure that nobody is measured who does not route: a key
// has one node, the same in a second table of the same nodes, and every node has
// keys.
func TestEntrantsRoute(t *testing.T) {
	t.Parallel()
	names, keys := newNames(20), newKeys(&bench.Env{Seed: 1}, 20_000)
	for _, table := range tables {
		for _, one := range balanced(table) {
			t.Run(table+"/"+one.name, func(t *testing.T) {
				t.Parallel()
				first, err := one.make(names)
				if err != nil {
					t.Fatal(err)
				}
				second, err := one.make(names)
				if err != nil {
					t.Fatal(err)
				}
				seen := map[string]bool{}
				for _, key := range keys {
					got := first.lookup(key)
					if again := first.lookup(key); again != got {
						t.Fatalf("lookup(%q) = %q, then %q", key, got, again)
					}
					if other := second.lookup(key); other != got {
						t.Fatalf("lookup(%q) = %q, and %q in a second table", key, got, other)
					}
					seen[got] = true
				}
				if got, want := slices.Sorted(maps.Keys(seen)), slices.Sorted(slices.Values(names)); !slices.Equal(got, want) {
					t.Errorf("nodes with keys are %q, want %q", got, want)
				}
			})
		}
	}
}

// TestAdd adds nodes, one after the other, as a round does.
func TestAdd(t *testing.T) {
	t.Parallel()
	for _, one := range entrants("ring") {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			r, err := one.make(newNames(5))
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if err := r.add(nodeName(5 + i)); err != nil {
					t.Errorf("add(%q): %v", nodeName(5+i), err)
				}
			}
		})
	}
}

// TestSpread counts with routers of which the answer is known.
func TestSpread(t *testing.T) {
	t.Parallel()
	keys := []string{"0", "1", "2", "3", "4", "5"}
	byLength := func(owners ...string) maker { // of 2 nodes, then of 3
		return func(names []string) (router, error) {
			part := owners[(len(names)-2)*len(keys):]
			return router{lookup: func(key string) string { return part[key[0]-'0'] }}, nil
		}
	}
	const a, b, c = "node-0", "node-1", "node-2"
	for _, tt := range []struct {
		name string
		make maker
		want bench.Figures
	}{
		{"ideal", byLength(a, a, a, b, b, b, a, a, c, b, b, c), bench.Figures{"max_over_avg": 1, "moved_over_ideal": 1, "astray": 0}},
		{"astray", byLength(a, a, a, a, b, b, b, c, a, a, c, c), bench.Figures{"max_over_avg": 4.0 / 3, "moved_over_ideal": 2, "astray": 0.25}},
	} {
		got, err := spread(tt.make, []string{a, b}, c, keys)
		if err != nil || !maps.Equal(got, tt.want) {
			t.Errorf("%s: spread = %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
	nowhere := func([]string) (router, error) {
		return router{lookup: func(string) string { return "elsewhere" }}, nil
	}
	if got, err := spread(nowhere, []string{a, b}, c, keys); err == nil {
		t.Errorf("spread of nodes that do not exist = %v, want an error", got)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	keys := newKeys(&bench.Env{Seed: 3}, 1000)
	again := newKeys(&bench.Env{Seed: 3}, 1000)
	seen := map[string]bool{}
	for i, key := range keys {
		if len(key) != keyLen || key != again[i] || seen[key] {
			t.Errorf("key %d is %q, then %q, want %d bytes, new, and the same again", i, key, again[i], keyLen)
		}
		seen[key] = true
	}
}

// TestTinyRun runs every case on shrunken workloads. It changes GOMAXPROCS and so
// is not parallel.
func TestTinyRun(t *testing.T) {
	s := Suite()
	report := s.Run(&bench.Config{
		Env:      bench.Env{Seed: 1, Shrink: 500},
		Rounds:   1,
		Duration: 50 * time.Microsecond,
		Out:      io.Discard,
	})
	if report.Err != nil {
		t.Errorf("Run: %v", report.Err)
	}
	impls := map[string]int{}
	for _, r := range report.Results {
		if r.Impl == bench.Ours {
			impls[r.Case]++
		}
		if r.Metric == "allocs" && r.Impl == bench.Ours && r.Value > 0.1 {
			t.Errorf("%s: %v allocs of ours, want 0", r.Case, r.Value)
		}
	}
	for _, name := range s.Cases() {
		if impls[name] == 0 {
			t.Errorf("%s has no figures of ours", name)
		}
	}
	for _, v := range report.Verdicts {
		if v.Cases == 0 {
			t.Errorf("target has no figure: %s", v.String())
		}
	}
}
