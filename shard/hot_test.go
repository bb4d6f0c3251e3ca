package shard

import (
	"maps"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung/internal/splitmix"
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
		hash := splitmix.Mix(zipf.Uint64())
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
		if got := stats.Hottest[rank].Hash; got != splitmix.Mix(rank) {
			t.Errorf("rank %d is %x, want %x", rank, got, splitmix.Mix(rank))
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

// What is forgotten does not depend on who asks for keys of the same set.
func TestHotForgetsWhatNobodyIsNear(t *testing.T) {
	t.Parallel()
	h := mustHot(t, nil)
	for range hotWindow {
		h.Observe(7)
	}
	random := rand.New(rand.NewPCG(8, 9))
	for i := 0; i < 4*hotWindow; {
		if hash := random.Uint64(); h.set(hash) != h.set(7) {
			h.Observe(hash)
			i++
		}
	}
	for _, k := range h.Stats().Hottest {
		if k.Hash == 7 && (math.Abs(k.Share-1.0/32) > 0.005 || !k.Spread) {
			t.Errorf("got %+v, want a share of %v", k, 1.0/32)
		}
	}
	if got := h.Stats().Hottest[0].Hash; got != 7 {
		t.Errorf("the hottest is %x, want 7", got)
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

// spreadCounts asks for a key until it is hot, and then n times more, and returns how
// often each value came.
func spreadCounts(t *testing.T, m *Map[int], key string, n int) map[int]int {
	t.Helper()
	counts := make(map[int]int)
	for i := range hotLeast + n {
		v, err := m.Spread(key)
		if err != nil {
			t.Fatal(err)
		}
		if i >= hotLeast {
			counts[v]++
		}
	}
	return counts
}

// evenly checks that each of values came about as often as the others, and that no
// other came.
func evenly(t *testing.T, counts map[int]int, values ...int) {
	t.Helper()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	want := float64(sum) / float64(len(values))
	for _, v := range values {
		if got := float64(counts[v]); math.Abs(got-want) > 6*math.Sqrt(want) {
			t.Errorf("asked %v, want about %.0f of node %d", counts, want, v)
		}
	}
	if len(counts) != len(values) {
		t.Errorf("asked %v, want only %v", counts, values)
	}
}

// first returns the values that GetN gives for a key.
func first(t *testing.T, m *Map[int], key string, n int) []int {
	t.Helper()
	entries, err := m.GetN(nil, key, n)
	if err != nil {
		t.Fatal(err)
	}
	var values []int
	for _, e := range entries {
		values = append(values, e.Value)
	}
	return values
}

func TestHotSpreadsEvenly(t *testing.T) {
	t.Parallel()
	const nodes = 3
	m := mustMap(t, valued(10), &MapOptions{Hot: mustHot(t, &HotOptions{Nodes: nodes})})
	home := first(t, m, "popular", 1)[0]
	for range hotLeast - 2 {
		if got, err := m.Spread("popular"); err != nil || got != home {
			t.Fatalf("Spread of what is not hot yet is %d, %v, want %d", got, err, home)
		}
	}
	evenly(t, spreadCounts(t, m, "popular", 3000), first(t, m, "popular", nodes)...)
	// Get stays where it was, and with fewer nodes than that all are used.
	for range 10 {
		if v, _ := m.Get("popular"); v != home {
			t.Fatalf("Get is %d, want %d", v, home)
		}
	}
	for n := 2; n > 0; n-- {
		if err := m.Set(valued(n)); err != nil {
			t.Fatal(err)
		}
		evenly(t, spreadCounts(t, m, "popular", 3000), first(t, m, "popular", n)...)
	}
}

// What else is done with a key in between does not say where Spread goes.
func TestHotSpreadsWhateverElseIsCounted(t *testing.T) {
	t.Parallel()
	for _, between := range []int{1, 2, 3} {
		hot := mustHot(t, nil)
		m := mustMap(t, valued(10), &MapOptions{Hot: hot})
		other := mustMap(t, valued(10)[1:], &MapOptions{Name: "other", Hot: hot})
		counts, others := make(map[int]int), make(map[int]int)
		for i := range 3 * hotLeast {
			v, err := m.Spread("popular")
			w, otherErr := other.Spread("popular")
			for range between - 1 {
				_, _ = m.Get("popular")
			}
			if err != nil || otherErr != nil {
				t.Fatal(err, otherErr)
			}
			if i >= hotLeast {
				counts[v]++
				others[w]++
			}
		}
		evenly(t, counts, first(t, m, "popular", 2)...)
		evenly(t, others, first(t, other, "popular", 2)...)
	}
}

// Where GetN replicates a key, Spread asks for it: also where zones decide.
func TestHotSpreadsOverTheReplicas(t *testing.T) {
	t.Parallel()
	for zones := 1; zones <= 4; zones++ {
		entries := valued(9)
		for i := range entries {
			entries[i].Node.Zone = string(rune('a' + i%zones))
		}
		m := mustMap(t, entries, &MapOptions{Hot: mustHot(t, &HotOptions{Nodes: 3})})
		for _, key := range []string{"one", "another", "a third"} {
			evenly(t, spreadCounts(t, m, key, 2000), first(t, m, key, 3)...)
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
	// do not wait: what comes meanwhile is halved too, and the share a part too low.
	if top := stats.Hottest[0]; top.Hash != 42 || top.Share < 0.2 || top.Share > 0.51 {
		t.Errorf("the hottest is %+v, want 42 with a share of about 0.5 and not above", top)
	}
	for _, k := range stats.Hottest[1:] {
		if k.Share > 0.01 {
			t.Errorf("%+v is hot, want nothing but 42", k)
		}
	}
}

// feedTurns asks for the key 7 once in every so many, and returns how often it was
// spread.
func feedTurns(h *Hot, random *rand.Rand, n, every int) (spread int) {
	for i := range n {
		if i%every != 0 {
			h.Observe(random.Uint64())
		} else if h.Observe(7) > 0 {
			spread++
		}
	}
	return spread
}

// A key is not above its share where a window ends while its set is busy, so that its
// counts are not halved yet.
func TestHotAtTheTurnOfABusyWindow(t *testing.T) {
	t.Parallel()
	h := mustHot(t, &HotOptions{Above: 0.015})
	random := rand.New(rand.NewPCG(1, 2))
	if got := feedTurns(h, random, hotWindow-1, 100); got != 0 {
		t.Fatalf("spread %d times before the turn, want 0", got)
	}
	s := h.set(7)
	s.mu.Lock()
	for range 4 {
		h.Observe(7)
	}
	s.mu.Unlock()
	for range 3 {
		if got := feedTurns(h, random, hotWindow, 100); got != 0 {
			t.Errorf("spread %d times, want 0: its share is 0.01", got)
		}
		for _, k := range h.Stats().Hottest {
			if k.Hash == 7 && (k.Share > 0.0102 || k.Share < 0.008 || k.Spread) {
				t.Errorf("got %+v, want a share of 0.01", k)
			}
		}
	}
}

func TestHotAtTheTurnUnderConcurrency(t *testing.T) {
	t.Parallel()
	for trial := range uint64(10) {
		h := mustHot(t, &HotOptions{Above: 0.6})
		var wg sync.WaitGroup
		for i := range uint64(4) {
			wg.Go(func() {
				if got := feedTurns(h, rand.New(rand.NewPCG(trial, i)), hotWindow, 2); got != 0 {
					t.Errorf("trial %d: a key with half of all is spread %d times above 0.6", trial, got)
				}
			})
		}
		wg.Wait()
	}
}

// counts returns what a set counts, by hash: the count and how much of it may be that
// of others.
func (s *hotSet) counts() map[uint64][2]int64 {
	counts := make(map[uint64][2]int64)
	for i := range s.cells {
		if c := &s.cells[i]; c.count.Load() > 0 {
			counts[c.hash.Load()] = [2]int64{c.count.Load(), c.over.Load()}
		}
	}
	return counts
}

func TestHotSetReplacesTheLeast(t *testing.T) {
	t.Parallel()
	s := &hotSet{}
	for key := range uint64(hotWays) {
		for range key + 2 { // also of those that were put in meanwhile
			s.insert(key + 100)
		}
	}
	want := make(map[uint64][2]int64)
	for key := range uint64(hotWays) {
		want[key+100] = [2]int64{int64(key) + 2, 0}
	}
	if got := s.counts(); !maps.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	s.cells[0].hot.Store(true)
	s.insert(7)
	delete(want, 100)
	want[7] = [2]int64{3, 2}
	if got := s.counts(); !maps.Equal(got, want) || s.cells[0].hot.Load() {
		t.Errorf("got %v, hot %t, want %v, and what was hot is gone", got, s.cells[0].hot.Load(), want)
	}
	s.insert(0) // the hash of free cells is one like any other
	delete(want, 7)
	want[0] = [2]int64{4, 3}
	if got := s.counts(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A free cell is nobody's, although its hash is that of a key.
func TestHotSetHasFreeCells(t *testing.T) {
	t.Parallel()
	s := &hotSet{}
	s.cells[5].count.Store(8)
	s.insert(0)
	if got := s.cells[5].count.Load(); got != 9 || s.cells[0].count.Load() != 0 {
		t.Errorf("the cell of 0 counts %d, and a free one %d, want 9, 0", got, s.cells[0].count.Load())
	}
}

func TestHotSetHalves(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		had, epoch  uint64
		count, over int64
		at          uint64
	}{
		{0, 0, 1000, 100, 0},
		{0, 1, 500, 50, 1},
		{2, 5, 125, 12, 5},
		{5, 4, 1000, 100, 5}, // another call was later and here first
		{0, 200, 0, 0, 200},
	} {
		s := &hotSet{}
		s.epoch.Store(row.had)
		s.cells[3].count.Store(1000)
		s.cells[3].over.Store(100)
		s.halve(row.epoch)
		c := &s.cells[3]
		if c.count.Load() != row.count || c.over.Load() != row.over || s.epoch.Load() != row.at {
			t.Errorf("from %d to %d: count %d, over %d, epoch %d, want %d, %d, %d",
				row.had, row.epoch, c.count.Load(), c.over.Load(), s.epoch.Load(), row.count, row.over, row.at)
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
