package shard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/uprung/uprung/internal/splitmix"
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
				hash := uint64(random.IntN(20)) * splitmix.Phi // few keys, so that nodes are full
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
					hash := uint64(random.IntN(2)) * splitmix.Phi
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
					b.Acquire(splitmix.Phi)
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

// Of two calls that want the last place, one gets it. One of them is a little later
// than the other, by more in each of 200 rounds, so that at some time they meet.
func TestTrap09TwoAtOnce(t *testing.T) {
	t.Parallel()
	b := mustBounded(t, mustRing(t, numbered(1), nil), nil)
	s := b.state.Load()
	limit := s.limit(0, 3)
	const rounds = 20_000
	var begun, ended, taken atomic.Int64
	await := func(n *atomic.Int64, round int64) {
		for spins := 1; n.Load() < round; spins++ {
			if spins%1000 == 0 {
				runtime.Gosched()
			}
		}
	}
	take := func() {
		if s.take(0, 3) {
			taken.Add(1)
		}
	}
	go func() {
		for round := range int64(rounds) {
			await(&begun, round+1)
			take()
			ended.Add(1)
		}
	}()
	var idle atomic.Int64
	for round := range int64(rounds) {
		s.loads[0].Store(limit - 1)
		begun.Add(1)
		for range round % 200 {
			idle.Load()
		}
		take()
		await(&ended, round+1)
		if taken.Swap(0) != 1 || s.loads[0].Load() != limit {
			t.Errorf("round %d: %d loads, want %d", round, s.loads[0].Load(), limit)
			break
		}
	}
	begun.Store(rounds)
}

// weightless is a table of nodes as they may be given to it.
type weightless struct{ *Ring }

func (w weightless) Nodes() []Node {
	nodes := slices.Clone(w.Ring.Nodes())
	nodes[0].Weight = 0
	return nodes
}

// broken is a table that panics in Lookup, or in Walk before or after it yields.
type broken struct {
	*Ring
	lookup, before, after bool
}

func (b *broken) Lookup(hash uint64) int {
	if b.lookup {
		panic("broken")
	}
	return b.Ring.Lookup(hash)
}

func (b *broken) Walk(hash uint64, yield func(int) bool) {
	if b.before {
		panic("broken")
	}
	b.Ring.Walk(hash, yield)
	if b.after {
		panic("broken")
	}
}

func TestBoundedCountsNothingAfterAPanic(t *testing.T) {
	t.Parallel()
	for _, row := range []broken{{lookup: true}, {before: true}, {after: true}} {
		table := &broken{Ring: mustRing(t, numbered(3), nil)}
		b := mustBounded(t, table, nil)
		for range 5 { // so that the home is full
			b.Acquire(splitmix.Phi)
		}
		want := b.Stats()
		table.lookup, table.before, table.after = row.lookup, row.before, row.after
		panicked := 0
		for range 5 {
			func() {
				defer func() {
					if recover() != nil {
						panicked++
					}
				}()
				b.Acquire(splitmix.Phi).Release()
			}()
		}
		if panicked == 0 {
			t.Fatalf("%+v did not panic", row)
		}
		if got := b.Stats(); got.Loads != want.Loads || !slices.Equal(got.Nodes, want.Nodes) || got.Acquired != want.Acquired+5-uint64(panicked) {
			t.Errorf("%+v: stats are %+v, want %+v", row, got, want)
		}
	}
}

// meddling is a table that does something each time its nodes are asked for.
type meddling struct {
	Table
	meddle func()
}

func (m meddling) Nodes() []Node {
	m.meddle()
	return m.Table.Nodes()
}

// Loads that are placed while tables change are kept by the table that prevails.
func TestBoundedSetTableIsDerivedFromWhatItReplaces(t *testing.T) {
	t.Parallel()
	all := numbered(30)
	b := mustBounded(t, mustRing(t, all[:1], nil), nil)
	placed := 0
	// meddle puts a node more into the table, and a load on it.
	meddle := func() {
		if placed == 20 {
			return
		}
		placed++
		table := mustRing(t, all[:placed+1], nil)
		if err := b.SetTable(table); err != nil {
			t.Fatal(err)
		}
		hash := 0
		for owner(table, testHash(hash)) != all[placed].ID {
			hash++
		}
		if lease := b.Acquire(testHash(hash)); lease.Node().ID != all[placed].ID {
			t.Fatalf("the load is at %v, want %s", lease.Node(), all[placed].ID)
		}
	}
	if err := b.SetTable(meddling{mustRing(t, all, nil), meddle}); err != nil {
		t.Fatal(err)
	}
	if placed == 0 {
		t.Fatal("nothing has meddled")
	}
	stats, nodes := b.Stats(), b.Table().Nodes()
	for i, n := range nodes {
		want := int64(0)
		if slices.ContainsFunc(all[1:placed+1], func(o Node) bool { return o.ID == n.ID }) {
			want = 1
		}
		if stats.Nodes[i] != want {
			t.Errorf("%s has %d loads, want %d", n.ID, stats.Nodes[i], want)
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
	if got := (Lease{}).Node(); got != (Node{}) {
		t.Errorf("the node of no lease is %v, want none", got)
	}
}

func TestNewBoundedNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	ring := mustRing(t, numbered(1), nil)
	var none *Ring
	for _, tt := range []struct {
		table Table
		o     BoundedOptions
		want  string
	}{
		{nil, BoundedOptions{}, "shard: table is nil, want a table with nodes"},
		{none, BoundedOptions{}, "shard: table is a nil *shard.Ring, want a table with nodes"},
		{&Slots{}, BoundedOptions{}, "shard: table is a *shard.Slots without nodes, want one with nodes"},
		{weightless{ring}, BoundedOptions{}, "shard: table is a shard.weightless with node-0 of weight 0, want 1 or more"},
		{ring, BoundedOptions{Factor: 1}, "shard: BoundedOptions.Factor is 1, want 1.01 to 1000"},
		{ring, BoundedOptions{Factor: math.NaN()}, "shard: BoundedOptions.Factor is NaN, want 1.01 to 1000"},
		{ring, BoundedOptions{Factor: math.Inf(1)}, "shard: BoundedOptions.Factor is +Inf, want 1.01 to 1000"},
		{ring, BoundedOptions{Name: "\n"}, `shard: BoundedOptions.Name is "\n", want 1 to 64 printable ASCII characters`},
		{nil, BoundedOptions{Name: strings.Repeat("x", 65), Factor: -1}, "shard: BoundedOptions.Factor is -1"},
	} {
		b := mustBounded(t, ring, nil)
		if err := b.SetTable(tt.table); (err == nil) != (tt.table == ring) {
			t.Errorf("SetTable of %T: error is %v", tt.table, err)
		}
		if _, err := NewBounded(tt.table, &tt.o); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: error is %v, want %s", tt.o, err, tt.want)
		}
	}
}

func TestBoundedDoesNotAllocate(t *testing.T) {
	b := mustBounded(t, mustRing(t, numbered(100), nil), nil)
	for range 1000 {
		b.Acquire(splitmix.Phi) // whose node is full from now on
	}
	if got := testing.AllocsPerRun(1000, func() { b.Acquire(splitmix.Phi).Release() }); got != 0 {
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
