package shard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

func mustBounded(tb testing.TB, table Table, o *BoundedOptions) *Bounded {
	tb.Helper()
	b, err := NewBounded(table, o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// weightedNodes are n nodes with weights from 1 to 4.
func weightedNodes(n int) []Node {
	nodes := numbered(n)
	for i := range nodes {
		nodes[i].Weight = i%4 + 1
	}
	return nodes
}

// slowLimit is the limit in whole numbers: ceil(percent/100 * total * w / whole).
func slowLimit(percent, total int64, nodes []Node, node int) int64 {
	whole := int64(0)
	for _, n := range nodes {
		whole += int64(n.Weight)
	}
	product := percent * total * int64(nodes[node].Weight)
	return (product + 100*whole - 1) / (100 * whole)
}

// Acquire and Release in random order do what the paper says: the first node in
// the order of preference that is below its limit.
func TestBoundedAgainstTheModel(t *testing.T) {
	t.Parallel()
	operations := 20_000
	if fullModels() {
		operations = 1_000_000
	}
	for _, k := range kinds {
		for _, percent := range []int64{101, 110, 125, 200} {
			nodes := numbered(9)
			if k.weighted {
				nodes = weightedNodes(9)
			}
			table := k.mustMake(t, nodes)
			nodes = table.Nodes()
			b := mustBounded(t, table, &BoundedOptions{Factor: float64(percent) / 100})
			loads := make([]int64, len(nodes))
			var leases []Lease
			random := rand.New(rand.NewPCG(1, uint64(percent)))
			away := uint64(0)
			for range operations / len(kinds) {
				if len(leases) > 0 && (len(leases) > 300 || random.IntN(5) < 2) {
					i := random.IntN(len(leases))
					loads[leases[i].Index()]--
					leases[i].Release()
					leases = slices.Delete(leases, i, i+1)
					continue
				}
				hash := uint64(random.IntN(20)) * phi // few keys, so that nodes are full
				want := -1
				table.Walk(hash, func(node int) bool {
					want = node
					return loads[node] >= slowLimit(percent, int64(len(leases)+1), nodes, node)
				})
				if want != table.Lookup(hash) {
					away++
				}
				lease := b.Acquire(hash)
				if lease.Index() != want || lease.Node() != nodes[want] {
					t.Fatalf("%s, factor %d%%, loads %v: got node %d, want %d", k.name, percent, loads, lease.Index(), want)
				}
				loads[want]++
				leases = append(leases, lease)
			}
			stats := b.Stats()
			if !slices.Equal(stats.Nodes, loads) || stats.Loads != int64(len(leases)) || stats.Away != away {
				t.Errorf("%s: stats are %+v, want loads %v, %d, away %d", k.name, stats, loads, len(leases), away)
			}
		}
	}
}

// All calls end, no node has more than its limit, and in the end nothing is left.
func TestTrap09BoundedUnderConcurrency(t *testing.T) {
	t.Parallel()
	for _, factor := range []float64{1.01, DefaultFactor} {
		nodes := weightedNodes(10)
		b := mustBounded(t, mustRing(t, nodes, nil), &BoundedOptions{Factor: factor})
		nodes = b.Table().Nodes()
		const workers, each = 8, 500
		leases := make([][]Lease, workers)
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(2, uint64(i)))
				for len(leases[i]) < each {
					// All prefer one of two nodes; some are released in between.
					hash := uint64(random.IntN(2)) * phi
					b.Acquire(hash).Release()
					leases[i] = append(leases[i], b.Acquire(hash))
				}
			})
		}
		wg.Wait()
		// Limits only grow with the number of loads: at no time were there more than
		// these and one for each worker.
		stats := b.Stats()
		if stats.Loads != workers*each || stats.Acquired != 2*workers*each {
			t.Errorf("%d loads of %d, want %d of %d", stats.Loads, stats.Acquired, workers*each, 2*workers*each)
		}
		percent := int64(math.Round(factor * 100))
		for i, n := range stats.Nodes {
			if limit := slowLimit(percent, stats.Loads+workers, nodes, i); n > limit {
				t.Errorf("factor %v: node %d has %d loads, want at most %d", factor, i, n, limit)
			}
		}
		for _, some := range leases {
			for _, lease := range some {
				wg.Go(lease.Release)
			}
		}
		wg.Wait()
		if stats := b.Stats(); stats.Loads != 0 || slices.Max(stats.Nodes) != 0 || stats.MaxOverAvg != 0 {
			t.Errorf("after all are released: %+v", stats)
		}
	}
}

// Without releases, the bound is exact: max <= ceil(c * avg).
func TestTrap09BoundedNeverOvershoots(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 7, 50} {
		b := mustBounded(t, mustRing(t, numbered(n), nil), nil)
		const workers, each = 8, 200
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for range each {
					b.Acquire(phi)
				}
			})
		}
		wg.Wait()
		want := slowLimit(125, workers*each, b.Table().Nodes(), 0)
		if got := slices.Max(b.Stats().Nodes); got > want {
			t.Errorf("%d nodes: the most loads are %d, want at most %d", n, got, want)
		}
	}
}

func TestBoundedSetTableKeepsLoads(t *testing.T) {
	t.Parallel()
	b := mustBounded(t, mustRing(t, numbered(3), nil), nil)
	var leases []Lease
	for i := range 30 {
		leases = append(leases, b.Acquire(testHash(i)))
	}
	before := b.Stats().Nodes
	if err := b.SetTable(mustRing(t, numbered(3)[1:], nil)); err != nil {
		t.Fatal(err)
	}
	after := b.Stats()
	if !slices.Equal(after.Nodes, before[1:]) || after.Loads != 30 {
		t.Errorf("loads are %v of %d, want %v of 30", after.Nodes, after.Loads, before[1:])
	}
	for _, lease := range leases {
		if want := fmt.Sprintf("node-%d", lease.Index()); lease.Node().ID != want {
			t.Errorf("node is %v, want %s", lease.Node(), want)
		}
		lease.Release()
	}
	if got := b.Stats(); got.Loads != 0 || slices.Max(got.Nodes) != 0 {
		t.Errorf("after all are released: %+v", got)
	}
	if err := b.SetTable(nil); err == nil || len(b.Table().Nodes()) != 2 {
		t.Errorf("SetTable(nil): error %v, %d nodes, want an error and 2", err, len(b.Table().Nodes()))
	}
	Lease{}.Release()
}

func TestNewBoundedNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	ring := mustRing(t, numbered(1), nil)
	for _, tt := range []struct {
		table Table
		o     BoundedOptions
		want  string
	}{
		{nil, BoundedOptions{}, "shard: table is nil, want one with nodes"},
		{ring, BoundedOptions{Factor: 1}, "shard: BoundedOptions.Factor is 1, want 1.01 to 1000"},
		{ring, BoundedOptions{Factor: math.NaN()}, "shard: BoundedOptions.Factor is NaN, want 1.01 to 1000"},
		{ring, BoundedOptions{Factor: math.Inf(1)}, "shard: BoundedOptions.Factor is +Inf, want 1.01 to 1000"},
		{ring, BoundedOptions{Name: "\n"}, `shard: BoundedOptions.Name is "\n", want 1 to 64 printable ASCII characters`},
		{nil, BoundedOptions{Name: strings.Repeat("x", 65), Factor: -1}, "shard: BoundedOptions.Factor is -1"},
	} {
		if _, err := NewBounded(tt.table, &tt.o); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: error is %v, want %s", tt.o, err, tt.want)
		}
	}
}

func TestBoundedDoesNotAllocate(t *testing.T) {
	b := mustBounded(t, mustRing(t, numbered(100), nil), nil)
	for range 1000 {
		b.Acquire(phi) // whose node is full from now on
	}
	if got := testing.AllocsPerRun(1000, func() { b.Acquire(phi).Release() }); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
	if b.Stats().Away == 0 {
		t.Error("no load was placed elsewhere")
	}
}

func BenchmarkBounded(b *testing.B) {
	bounded := mustBounded(b, mustRing(b, numbered(100), nil), nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		bounded.Acquire(testHash(i)).Release()
	}
}
