package shard

import (
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func mustHot(tb testing.TB, o *HotOptions) *Hot {
	tb.Helper()
	h, err := NewHot(o)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// The shares of the hottest of a million keys by Zipf's law are those of an exact
// count, never above it.
func TestHotFindsTheHottest(t *testing.T) {
	t.Parallel()
	h := mustHot(t, nil)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), 1.2, 1, 1<<20)
	const n = hotWindow - 1 // before anything is halved
	exact := make(map[uint64]float64)
	for range n {
		hash := mix(zipf.Uint64())
		exact[hash] += 1.0 / n
		h.Observe(hash)
	}
	stats := h.Stats()
	if stats.Observed != n || len(stats.Hottest) != hotRanks {
		t.Fatalf("observed %d, %d hottest, want %d, %d", stats.Observed, len(stats.Hottest), n, hotRanks)
	}
	for rank, k := range stats.Hottest {
		truth := exact[k.Hash]
		if k.Share > truth+1e-9 || k.Share < 0.8*truth {
			t.Errorf("rank %d: share is %v, want at most %v and little less", rank, k.Share, truth)
		}
		if hot := truth >= 0.01; rank < 5 && hot != k.Spread {
			t.Errorf("rank %d with share %v: spread is %v, want %v", rank, truth, k.Spread, hot)
		}
	}
	for rank := range uint64(3) {
		if got := stats.Hottest[rank].Hash; got != mix(rank) {
			t.Errorf("rank %d is %x, want %x", rank, got, mix(rank))
		}
	}
}

func TestHotForgetsWhatIsOver(t *testing.T) {
	t.Parallel()
	h := mustHot(t, &HotOptions{Above: 0.1})
	random := rand.New(rand.NewPCG(3, 4))
	for range hotWindow {
		h.Observe(7)
		h.Observe(random.Uint64())
	}
	if got := h.Stats(); len(got.Hottest) == 0 || got.Hottest[0].Hash != 7 || got.Spread != 1 || math.Abs(got.Hottest[0].Share-0.5) > 0.02 {
		t.Errorf("at first: %+v, want 7 with a share of 0.5", got)
	}
	// Nobody asks for 7 any more. After w windows its share is 0.5 * 2^-w.
	for range 4 * hotWindow {
		h.Observe(random.Uint64())
	}
	got := h.Stats()
	if got.Spread != 0 {
		t.Errorf("later: %+v, want nothing hot", got)
	}
	for _, k := range got.Hottest {
		if k.Hash == 7 && k.Share > 0.5/16+0.01 {
			t.Errorf("later: share of 7 is %v, want %v", k.Share, 0.5/16)
		}
	}
}

// A key becomes hot at Above, and ceases to be at half of it.
func TestHotHasHysteresis(t *testing.T) {
	t.Parallel()
	h := mustHot(t, &HotOptions{Above: 0.2, Nodes: 3})
	random := rand.New(rand.NewPCG(5, 6))
	// ask asks for 0 with a share until all windows have it, and returns whether it
	// was spread in the last.
	ask := func(share float64) bool {
		spread := 0
		for i := range 8 * hotWindow {
			if random.Float64() >= share {
				h.Observe(random.Uint64() | 1)
			} else if h.Observe(0) > 0 && i >= 7*hotWindow {
				spread++
			}
		}
		return spread > 0
	}
	for i, step := range []struct {
		share float64
		want  bool
	}{{0.15, false}, {0.25, true}, {0.15, true}, {0.05, false}, {0.15, false}} {
		if got := ask(step.share); got != step.want {
			t.Errorf("step %d, share %v: hot is %v, want %v", i, step.share, got, step.want)
		}
	}
}

func TestHotSpreadsInTurn(t *testing.T) {
	t.Parallel()
	const nodes = 3
	h := mustHot(t, &HotOptions{Nodes: nodes})
	m := mustMap(t, valued(10), &MapOptions{Hot: h})
	for range hotLeast - 1 {
		home, _ := m.Get("popular")
		if got, err := m.Spread("rare"); err != nil || got < 0 {
			t.Fatal(got, err)
		}
		_ = home
	}
	replicas, err := m.GetN(nil, "popular", nodes)
	if err != nil {
		t.Fatal(err)
	}
	counts := make(map[int]int)
	for range 3000 {
		v, err := m.Spread("popular")
		if err != nil {
			t.Fatal(err)
		}
		counts[v]++
	}
	for _, e := range replicas {
		if got := counts[e.Value]; got != 1000 {
			t.Errorf("node %d was given %d of 3000, want 1000", e.Value, got)
		}
	}
	// Get stays where it was, and with fewer nodes than that all are used.
	for range 10 {
		if v, _ := m.Get("popular"); v != replicas[0].Value {
			t.Fatalf("Get is %d, want %d", v, replicas[0].Value)
		}
	}
	if err := m.Set(valued(1)); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if v, err := m.Spread("popular"); v != 0 || err != nil {
			t.Fatalf("Spread over one node is %d, %v", v, err)
		}
	}
}

func TestHotUnderConcurrency(t *testing.T) {
	t.Parallel()
	h := mustHot(t, &HotOptions{Capacity: 8}) // one set, for as much trouble as can be
	const workers, each = 4, 40_000
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for n := range each {
				if n%2 == 0 {
					h.Observe(42)
				} else {
					h.Observe(random.Uint64())
				}
				if n%5000 == 0 {
					h.Stats()
				}
			}
		})
	}
	wg.Wait()
	stats := h.Stats()
	if stats.Observed != workers*each {
		t.Errorf("observed %d, want %d", stats.Observed, workers*each)
	}
	// A goroutine that is interrupted in the set delays the halving, for the others
	// do not wait: the share then is a part too low.
	if top := stats.Hottest[0]; top.Hash != 42 || top.Share < 0.2 || top.Share > 0.51 {
		t.Errorf("the hottest is %+v, want 42 with a share of about 0.5 and not above", top)
	}
	for _, k := range stats.Hottest[1:] {
		if k.Share > 0.01 {
			t.Errorf("%+v is hot, want nothing but 42", k)
		}
	}
}

func TestNewHotNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := NewHot(&HotOptions{Capacity: -1, Above: 1.5, Nodes: -2})
	want := "shard: HotOptions.Capacity is -1, want 0 to 1048576\n" +
		"shard: HotOptions.Above is 1.5, want above 0 and at most 1\n" +
		"shard: HotOptions.Nodes is -2, want 0 to 65536"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := NewHot(&HotOptions{Above: math.NaN()}); err == nil {
		t.Error("a share that is not a number is accepted")
	}
	for _, tt := range []struct{ capacity, want int }{{0, 512}, {1, 8}, {9, 16}, {512, 512}, {maxHotCapacity, maxHotCapacity}} {
		if got := len(mustHot(t, &HotOptions{Capacity: tt.capacity}).sets) * hotWays; got != tt.want {
			t.Errorf("capacity %d has room for %d keys, want %d", tt.capacity, got, tt.want)
		}
	}
}

func TestHotDoesNotAllocate(t *testing.T) {
	h := mustHot(t, nil)
	i := 0
	if got := testing.AllocsPerRun(10_000, func() { i++; h.Observe(testHash(i)); h.Observe(7) }); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// A metric holds neither a key nor what it could be recognised by.
func TestMetricsHoldNoKey(t *testing.T) {
	t.Parallel()
	m := mustMap(t, valued(3), &MapOptions{Name: "carts", Hot: mustHot(t, nil)})
	for range 2 * hotLeast {
		if _, err := m.Get("alice"); err != nil {
			t.Fatal(err)
		}
	}
	values := make(map[string]float64)
	for metric := range m.Metrics {
		values[metric.Name] = metric.Value
		for _, l := range metric.Labels {
			if l.Name != "map" || l.Value != "carts" {
				t.Errorf("%s has label %v, want only map", metric.Name, l)
			}
		}
		if !strings.HasPrefix(metric.Name, "uprung_shard_") || metric.Value == float64(Hash("alice")) {
			t.Errorf("metric %+v", metric)
		}
	}
	for name, want := range map[string]float64{
		"uprung_shard_nodes": 3, "uprung_shard_sets_total": 0,
		"uprung_shard_observed_keys_total": 2 * hotLeast, "uprung_shard_hottest_key_ratio": 1,
		"uprung_shard_hottest_keys_ratio": 1, "uprung_shard_spread_keys": 1,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func BenchmarkHotObserve(b *testing.B) {
	h := mustHot(b, nil)
	zipf := rand.NewZipf(rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2)), 1.2, 1, 1<<20)
	hashes := make([]uint64, 1<<12)
	for i := range hashes {
		hashes[i] = Hash(strconv.FormatUint(zipf.Uint64(), 10))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Observe(hashes[i%len(hashes)])
	}
}
