package ratelimit

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// together runs f in n goroutines, as nearly at one time as the cores allow: they
// wait for one another awake.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	var ready atomic.Int64
	for i := range n {
		wg.Go(func() {
			for ready.Add(1); ready.Load() < int64(n); {
				runtime.Gosched()
			}
			f(i)
		})
	}
	wg.Wait()
}

func TestFreshKeyUnderConcurrency(t *testing.T) {
	t.Parallel()
	const limit, goroutines, rounds = 100, 64, 150
	for name, ask := range map[string]func(l *Limiter, key string, at time.Time) bool{
		"TakeAt": func(l *Limiter, key string, at time.Time) bool {
			res, err := l.TakeAt(at, key, 1)
			return err == nil && res.Allowed
		},
		"Allow": func(l *Limiter, key string, _ time.Time) bool { return l.Allow(key) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLimiter(t, PerDay(limit), nil)
			at := time.Now()
			for round := range rounds {
				key := fmt.Sprint("fresh", round)
				var granted atomic.Int64
				together(goroutines, func(int) {
					for range 4 {
						if ask(l, key, at) {
							granted.Add(1)
						}
					}
				})
				if got := granted.Load(); got != limit {
					t.Fatalf("%s: %d granted, want exactly %d", key, got, limit)
				}
			}
			sound(t, l)
			if s := l.Stats(); s.Keys != rounds || s.Granted != rounds*limit || s.Denied != rounds*(4*goroutines-limit) {
				t.Errorf("%+v, want %d keys and every decision counted", s, rounds)
			}
		})
	}
}

// Two cores that meet a new key in the same instant put it in once. It is not
// parallel, to have the cores for itself.
func TestTwoInsertionsMakeOneKey(t *testing.T) {
	const rounds = 3000
	l := newLimiter(t, PerDay(1), &Options{Capacity: 2 * rounds})
	var granted [rounds]atomic.Int32
	var arrived atomic.Int64
	together(2, func(int) {
		for round := range rounds {
			hash := slotKey(uint64(round+1) * 0x9E3779B97F4A7C15)
			arrived.Add(1)
			for spins := 1; arrived.Load() < int64(2*round+2); spins++ {
				if spins%1000 == 0 {
					runtime.Gosched()
				}
			}
			c := call{hash: hash, now: l.now(), n: 1}
			if l.decide(&c) == nil && c.ok {
				granted[round].Add(1)
			}
		}
	})
	for round := range granted {
		if got := granted[round].Load(); got != 1 {
			t.Errorf("key %d was granted %d, want 1", round, got)
		}
	}
	sound(t, l)
}

// Cores that charge one known key at the same time lose no charge.
func TestHotKeyUnderConcurrency(t *testing.T) {
	t.Parallel()
	const limit, goroutines = 200_000, 4
	l := newLimiter(t, PerDay(limit), nil)
	var granted atomic.Int64
	together(goroutines, func(i int) {
		n := int64(0)
		for range limit/goroutines + 1000 {
			switch {
			case i%2 == 0: // the quick way
				if l.Allow("k") {
					n++
				}
			default:
				if res, err := l.Take(t.Context(), "k", 1); err == nil {
					n += res.Granted
				}
			}
		}
		granted.Add(n)
	})
	// A day's events are 432 ms apart.
	if got := granted.Load(); got < limit || got > limit+int64(time.Since(l.base)/(432*time.Millisecond)) {
		t.Errorf("%d granted, want %d", got, limit)
	}
}

// Sixteen keys for each slot pass through a table, more of them alive than it
// has room for. The key that is always at its limit keeps its bucket.
func TestKeyFloodNeverFreesAnAbuser(t *testing.T) {
	t.Parallel()
	const seconds, rate, burst = 39, 1, 10
	slots := 4096
	if fullModels() {
		slots = 65_536
	}
	l := newLimiter(t, PerSecond(rate).WithBurst(burst), &Options{Capacity: slots * 2 / 3})
	if got := len(l.table.buckets) * slotsPerBucket; got != slots {
		t.Fatalf("the table has %d slots, want %d", got, slots)
	}
	attackers := 16 * slots
	var history []grant
	for i := range attackers {
		at := seconds * time.Second / time.Duration(attackers) * time.Duration(i)
		if i == attackers-1 {
			at = seconds * time.Second
		}
		// The attacker takes at most half of its burst: who takes more is no better
		// than the victim. Its hash stands for its key.
		c := call{hash: slotKey(uint64(i+1) * 0x9E3779B97F4A7C15), now: l.ticks(at), n: 1 + int64(i%5)}
		if err := l.decide(&c); err != nil || !c.ok {
			t.Fatalf("attacker %d is denied: %v", i, err)
		}
		if i%16 == 0 || i == attackers-1 {
			for take(t, l, at, "abuser", 1).Allowed {
				history = append(history, grant{at, 1})
			}
		}
	}
	if got := len(history); got != burst+seconds*rate {
		t.Errorf("the abuser was granted %d, want exactly %d", got, burst+seconds*rate)
	}
	conforms(t, history, l.Limit())
	s := l.Stats()
	if s.Evicted < uint64(slots)/2 {
		t.Errorf("%d live keys were evicted, want a flood", s.Evicted)
	}
	if s.Keys > int64(slots) {
		t.Errorf("%d keys in %d slots", s.Keys, slots)
	}
	t.Logf("%d live evictions", s.Evicted)
	sound(t, l)
}

// In a table of sixteen slots, keys come and go as fast as they can under keys
// that stay. No charge and no refund of those that go may land on those that
// stay.
func TestSlotReuseNeverChargesAnotherKey(t *testing.T) {
	t.Parallel()
	const (
		limit    = 20_000
		before   = 1000 // the debt that keeps a hot key from being evicted
		hot      = 4
		flooders = 4
		passers  = 10_000 // keys of each flooder
	)
	l := newLimiter(t, PerDay(limit), &Options{Capacity: 1})
	for i := range hot {
		if !l.AllowN(fmt.Sprint("hot", i), before) {
			t.Fatal("the burst is denied")
		}
	}
	var granted [hot]atomic.Int64
	var calls, flooded atomic.Int64
	together(hot*2+flooders, func(i int) {
		if i < hot*2 {
			key := fmt.Sprint("hot", i%hot)
			for range limit * 3 / 4 {
				calls.Add(1)
				if l.Allow(key) {
					granted[i%hot].Add(1)
				}
			}
			return
		}
		for j := range passers {
			key := fmt.Sprint("passer", i, "-", j)
			for range 1 + j%3 {
				calls.Add(1)
				if l.AllowN(key, 2) {
					flooded.Add(1)
				}
			}
			switch j % 4 {
			case 0:
				_ = l.Refund(key, 1)
			case 1:
				l.Reset(key)
			}
		}
	})
	var total int64
	for i := range granted {
		got := granted[i].Load()
		if got != limit-before {
			t.Errorf("hot key %d was granted %d, want exactly %d", i, got, limit-before)
		}
		total += got
	}
	s := l.Stats()
	if got, want := s.Granted, uint64(hot+total+flooded.Load()); got != want {
		t.Errorf("Stats().Granted is %d, want %d", got, want)
	}
	if got, want := s.Granted+s.Denied, uint64(hot+calls.Load()); got != want {
		t.Errorf("%d decisions are counted, want %d", got, want)
	}
	if s.Evicted < passers {
		t.Errorf("%d keys were evicted, want a flood", s.Evicted)
	}
	sound(t, l)
}

// Everything at once, on a table in which everything is in transition: each key
// is granted at most its burst for each time that it may have been forgotten.
func TestSlotReuseUnderChangingLimits(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, PerDay(50), &Options{Capacity: 1})
	var granted atomic.Int64
	together(9, func(i int) {
		if i == 0 {
			for j := range 400 {
				if err := l.SetLimit([]Limit{PerDay(100).WithBurst(50), PerDay(50)}[j%2]); err != nil {
					t.Error(err)
				}
			}
			return
		}
		for j := range 8000 {
			key := fmt.Sprint("k", (i*7+j*13)%24)
			switch j % 5 {
			default:
				if l.Allow(key) {
					granted.Add(1)
				}
			case 3:
				if _, err := l.Peek(key); err != nil {
					t.Error(err)
				}
			case 4:
				if l.AllowN(key, 3) {
					granted.Add(3)
				}
			}
		}
	})
	s := l.Stats()
	if most := int64(s.Evicted+24) * 50; granted.Load() > most {
		t.Errorf("%d granted to 24 keys of which %d were evicted, want at most %d", granted.Load(), s.Evicted, most)
	}
	sound(t, l)
	for i := range l.table.stripes {
		if !l.table.stripes[i].mu.TryLock() {
			t.Errorf("stripe %d is left locked", i)
		}
	}
}

func TestHashSeedIsSecretPerLimiter(t *testing.T) {
	t.Parallel()
	a, b := newLimiter(t, PerDay(1), nil), newLimiter(t, PerDay(1), nil)
	same := 0
	for i := range 1000 {
		key := fmt.Sprint(i)
		if a.hash(key) == b.hash(key) {
			same++
		}
		if a.hash(key) != a.hash(key) || a.hash(key) == 0 { //nolint:staticcheck // it must be a function
			t.Errorf("the hash of %q is not one number other than zero", key)
		}
		if a.hash(key) == a.keyless {
			t.Errorf("%q is the key of requests without one", key)
		}
	}
	if same != 0 {
		t.Errorf("%d of 1000 keys have one hash in two limiters, want none", same)
	}
	if a.hash("") == a.keyless || a.keyless == b.keyless {
		t.Error("the bucket of requests without a key can be had by a key")
	}
	if slotKey(0) == 0 {
		t.Error("a hash of zero would be an empty slot")
	}
}

func TestHomesAreTwoAndEven(t *testing.T) {
	t.Parallel()
	for _, capacity := range []int{1, 11, 16, 100, 1000, 5461} {
		table := newTable(capacity)
		n := len(table.buckets)
		if n*slotsPerBucket < capacity*3/2 {
			t.Errorf("%d keys have %d slots, want half as many again", capacity, n*slotsPerBucket)
		}
		counts := make([]int, n)
		rng := seeded(t)
		for range 200 * n {
			hash := rng.Uint64()
			first, second := table.homes(hash)
			if first == second || first != table.home(hash) || int(max(first, second)) >= n {
				t.Fatalf("homes of %#x are %d and %d of %d", hash, first, second, n)
			}
			counts[first]++
			counts[second]++
		}
		for i, got := range counts {
			if got < 280 || got > 520 {
				t.Errorf("bucket %d of %d is home to %d keys, want about 400", i, n, got)
			}
		}
	}
}

// A table holds the keys that it was made for, all of them alive, but for one in
// a million that finds its sixteen slots taken.
func TestCapacityIsKept(t *testing.T) {
	t.Parallel()
	for _, capacity := range []int{1, 8, 100, 10_000} {
		l := newLimiter(t, PerDay(2), &Options{Capacity: capacity})
		for i := range capacity {
			l.Allow(fmt.Sprint(i))
		}
		forgotten := 0
		for i := range capacity {
			switch res, err := l.Peek(fmt.Sprint(i)); {
			case err != nil:
				t.Fatal(err)
			case res.Remaining == 2:
				forgotten++
			case res.Remaining != 1:
				t.Fatalf("capacity %d: key %d has %d left, want 1", capacity, i, res.Remaining)
			}
		}
		s := l.Stats()
		if s.Capacity != capacity || s.Evicted != uint64(forgotten) || s.Keys != int64(capacity-forgotten) {
			t.Errorf("%+v, want %d keys less the %d forgotten", s, capacity, forgotten)
		}
		if forgotten > 1+capacity/2000 {
			t.Errorf("%d of %d keys were forgotten, want next to none", forgotten, capacity)
		}
		sound(t, l)
	}
}

// Whoever has the most left goes first, and a key that is full goes unnoticed.
func TestEvictionTakesWhoIsNearestToFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerHour(100), &Options{Capacity: 1})
		for i := range 16 {
			l.AllowN(fmt.Sprint("k", i), int64(20+i))
		}
		if s := l.Stats(); s.Keys != 16 || s.Evicted != 0 {
			t.Fatalf("%+v, want sixteen keys", s)
		}
		for i := range 8 {
			l.AllowN(fmt.Sprint("new", i), 90)
			for j := range 16 {
				// One key has gone for each that came, from the fullest on.
				want := int64(80 - j)
				if j <= i {
					want = 100
				}
				if got := remaining(t, l, fmt.Sprint("k", j)); got != want {
					t.Errorf("after %d new keys k%d has %d, want %d", i+1, j, got, want)
				}
			}
		}
		if s := l.Stats(); s.Evicted != 8 || s.Keys != 16 {
			t.Errorf("%+v, want eight evicted", s)
		}
		time.Sleep(time.Hour) // all are full
		for i := range 16 {
			l.Allow(fmt.Sprint("late", i))
		}
		if s := l.Stats(); s.Evicted != 8 || s.Keys != 16 {
			t.Errorf("%+v, want no more evicted", s)
		}
		sound(t, l)
	})
}
