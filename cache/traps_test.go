package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/cachetest"
)

// Each test is a mistake that some cache makes.

var errLoad = errors.New("the origin is down")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// give returns a loader of one value.
func give[V any](v V) cache.Loader[string, V] {
	return func(context.Context, string) (V, error) { return v, nil }
}

// slow returns a loader that takes some time, and counts.
func slow(loads *atomic.Int64, d time.Duration, value string) cache.Loader[string, string] {
	return func(ctx context.Context, _ string) (string, error) {
		loads.Add(1)
		select {
		case <-time.After(d):
			return value, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

func fail(context.Context, string) (string, error) { return "", errLoad }

func wantLoad(t *testing.T, c *cache.Cache[string, string], key, want string, load cache.Loader[string, string]) {
	t.Helper()
	if got, err := c.GetOrLoad(t.Context(), key, load); got != want || err != nil {
		t.Errorf("GetOrLoad(%q) is %q, %v; want %q", key, got, err, want)
	}
}

func wantGet(t *testing.T, c *cache.Cache[string, string], key, want string) {
	t.Helper()
	if got, ok := c.Get(t.Context(), key); got != want || ok != (want != "") {
		t.Errorf("Get(%q) is %q, %v; want %q", key, got, ok, want)
	}
}

// bubble runs a test in a bubble, with a cache that it closes.
func bubble(t *testing.T, capacity int, o *cache.Options[string, string], test func(t *testing.T, c *cache.Cache[string, string])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := uprung.Must(cache.New(capacity, o))
		defer c.Close()
		test(t, c)
	})
}

// Trap 1.
func TestFirstCallerCancelledFailsNobody(t *testing.T) {
	t.Parallel()
	bubble(t, 10, nil, func(t *testing.T, c *cache.Cache[string, string]) {
		var loads, failed atomic.Int64
		load := slow(&loads, time.Second, "v")
		first, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := c.GetOrLoad(first, "k", load); !errors.Is(err, context.Canceled) {
				t.Errorf("the first caller has %v, want context.Canceled", err)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if v, err := c.GetOrLoad(t.Context(), "k", load); v != "v" || err != nil {
					failed.Add(1)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		cancel()
		all.Wait()
		if failed.Load() != 0 || loads.Load() != 1 {
			t.Errorf("%d of 50 failed and there were %d loads, want 0 and 1", failed.Load(), loads.Load())
		}
	})
}

// Trap 1: when nobody waits any more, the load ends.
func TestLoadEndsWithItsLastWaiter(t *testing.T) {
	t.Parallel()
	bubble(t, 10, nil, func(t *testing.T, c *cache.Cache[string, string]) {
		ended := make(chan error, 1)
		load := func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return "late", nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { _, _ = c.GetOrLoad(ctx, "k", load) })
		}
		all.Wait()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the load ended for %v, want context.Canceled", err)
		}
		synctest.Wait()
		wantGet(t, c, "k", "")
		wantLoad(t, c, "k", "v", give("v"))
	})
}

// Trap 2.
func TestEachWaiterHasItsOwnDeadline(t *testing.T) {
	t.Parallel()
	bubble(t, 10, nil, func(t *testing.T, c *cache.Cache[string, string]) {
		var loads atomic.Int64
		var all sync.WaitGroup
		for i := range 5 {
			limit := time.Duration(i+1) * 20 * time.Millisecond
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				start := time.Now()
				_, err := c.GetOrLoad(ctx, "k", slow(&loads, 300*time.Millisecond, "v"))
				if took := time.Since(start); took != limit || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a caller with %v waited %v for %v", limit, took, err)
				}
			})
		}
		all.Wait()
	})
}

// Trap 2: a loader that ignores its context.
func TestLoadTimeoutBoundsLoadersThatIgnoreIt(t *testing.T) {
	t.Parallel()
	bubble(t, 10, &cache.Options[string, string]{LoadTimeout: time.Second}, func(t *testing.T, c *cache.Cache[string, string]) {
		start := time.Now()
		_, err := c.GetOrLoad(t.Context(), "k", func(context.Context, string) (string, error) {
			time.Sleep(time.Minute)
			return "late", nil
		})
		if took := time.Since(start); took != time.Second || !errors.Is(err, cache.ErrLoadTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it waited %v for %v, want 1s for ErrLoadTimeout", took, err)
		}
		wantLoad(t, c, "k", "v", give("v"))
		time.Sleep(2 * time.Minute)
		wantGet(t, c, "k", "v")
	})
}

// Trap 3.
func TestPanicReachesEveryWaiterOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(){
		"panic":  func() { panic("broken") },
		"Goexit": runtime.Goexit,
	} {
		bubble(t, 10, nil, func(t *testing.T, c *cache.Cache[string, string]) {
			load := func(context.Context, string) (string, error) {
				time.Sleep(time.Second)
				end()
				return "", nil
			}
			var panicked, failed atomic.Int64
			var all sync.WaitGroup
			for range 6 {
				all.Go(func() {
					defer func() {
						if p := recover(); p == "broken" {
							panicked.Add(1)
						}
					}()
					_, err := c.GetOrLoad(t.Context(), "k", load)
					var p *cache.PanicError
					if errors.As(err, &p) {
						failed.Add(1)
					}
				})
			}
			all.Wait()
			wantPanics := int64(1)
			if name == "Goexit" {
				wantPanics = 0
			}
			if panicked.Load() != wantPanics || failed.Load() != 6-wantPanics {
				t.Errorf("%s: %d callers panicked and %d failed, want %d and %d", name, panicked.Load(), failed.Load(), wantPanics, 6-wantPanics)
			}
			wantLoad(t, c, "k", "v", give("v"))
			if n := c.Stats().LoadErrors; n != 1 {
				t.Errorf("%s: LoadErrors is %d, want 1", name, n)
			}
		})
	}
}

// tagged has every entry have the tag "all".
func tagged(string, string) []string { return []string{"all"} }

// Traps 4 and 5: what overtakes a load, in memory and with a store.
func TestOvertakenLoadIsNotKept(t *testing.T) {
	t.Parallel()
	for name, overtake := range map[string]struct {
		do   func(*cache.Cache[string, string], context.Context) error
		left string
	}{
		"Invalidate":    {func(c *cache.Cache[string, string], ctx context.Context) error { return c.Invalidate(ctx, "k") }, ""},
		"InvalidateTag": {func(c *cache.Cache[string, string], ctx context.Context) error { return c.InvalidateTag(ctx, "all") }, ""},
		"InvalidateAll": {(*cache.Cache[string, string]).InvalidateAll, ""},
		"Set":           {func(c *cache.Cache[string, string], ctx context.Context) error { return c.Set(ctx, "k", "set") }, "set"},
	} {
		for _, stored := range []string{"memory", "store", "plain store", "other process"} {
			for _, begin := range []string{"GetOrLoad", "Refresh", "GetOrLoadMany"} {
				t.Run(name+"/"+stored+"/"+begin, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						engine := cachetest.NewEngine()
						open := func() *cache.Cache[string, string] {
							o := &cache.Options[string, string]{TagsOf: tagged}
							switch stored {
							case "store", "other process":
								o.Store, o.Namespace = engine.Client(), "n"
							case "plain store":
								o.Store, o.Namespace = plainStore{engine.Client()}, "n"
							}
							return uprung.Must(cache.New(10, o))
						}
						c := open()
						defer c.Close()
						by := c
						if stored == "other process" {
							by = open()
							defer by.Close()
						}
						var loads atomic.Int64
						load := slow(&loads, time.Second, "stale")
						loaded := make(chan string)
						go func() {
							var v string
							switch begin {
							case "GetOrLoad":
								v, _ = c.GetOrLoad(t.Context(), "k", load)
							case "Refresh":
								v, _ = c.Refresh(t.Context(), "k", load)
							case "GetOrLoadMany":
								values, _ := c.GetOrLoadMany(t.Context(), []string{"j", "k"}, func(ctx context.Context, keys []string) (map[string]string, error) {
									v, err := load(ctx, keys[0])
									return map[string]string{"j": v, "k": v}, err
								})
								v = values["k"]
							}
							loaded <- v
						}()
						time.Sleep(500 * time.Millisecond)
						must(t, overtake.do(by, t.Context()))
						// Who asks from now on has the new value, at once.
						if overtake.left == "" {
							wantLoad(t, by, "k", "fresh", give("fresh"))
						}
						if got := <-loaded; got != "stale" {
							t.Errorf("who waited before has %q, want what was loaded", got)
						}
						want := overtake.left
						if want == "" {
							want = "fresh"
						}
						synctest.Wait()
						wantLoad(t, by, "k", want, give("loaded again"))
						wantLoad(t, c, "k", want, give("loaded again"))
					})
				})
			}
		}
	}
}

// plainStore hides all but the necessary.
type plainStore struct{ cache.Store }

// Trap 6.
func TestBoundHoldsAtEveryInstant(t *testing.T) {
	t.Parallel()
	const capacity, maxBytes, callers = 100, 1500, 8
	for _, policy := range []cache.Policy{cache.Adaptive, cache.S3FIFO, cache.TinyLFU, cache.LRU} {
		c := uprung.Must(cache.New(capacity, &cache.Options[int, int]{
			Policy: policy, MaxBytes: maxBytes, Weigher: func(_, v int) int64 { return int64(v) },
		}))
		var stop atomic.Bool
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 1))
				for range 20_000 {
					key := random.IntN(300)
					switch random.IntN(4) {
					case 0:
						_, _ = c.Get(t.Context(), key)
					case 1:
						_ = c.Invalidate(t.Context(), key)
					default:
						_ = c.Set(t.Context(), key, random.IntN(60))
					}
				}
			})
		}
		var watch sync.WaitGroup
		watch.Go(func() {
			for !stop.Load() {
				if s := c.Stats(); s.Entries > capacity || s.Bytes > maxBytes {
					t.Errorf("%v: %d entries of %d bytes, want at most %d of %d", policy, s.Entries, s.Bytes, capacity, maxBytes)
					return
				}
			}
		})
		all.Wait()
		stop.Store(true)
		watch.Wait()
	}
}

// Trap 7.
func TestReadsItsWrites(t *testing.T) {
	t.Parallel()
	for _, policy := range []cache.Policy{cache.Adaptive, cache.S3FIFO, cache.TinyLFU, cache.LRU} {
		for _, capacity := range []int{1, 2, 3, 100} {
			c := uprung.Must(cache.New(capacity, &cache.Options[string, string]{Policy: policy}))
			for i := range 500 {
				key := fmt.Sprint(i % (2 * capacity))
				for _, value := range []string{fmt.Sprint(i), fmt.Sprint(i, " again")} {
					must(t, c.Set(t.Context(), key, value))
					wantGet(t, c, key, value)
				}
			}
		}
	}
}

// Trap 8.
func TestWhatDoesNotExistIsRemembered(t *testing.T) {
	t.Parallel()
	bubble(t, 10, &cache.Options[string, string]{NegativeTTL: time.Second, NegativeCapacity: 100, Jitter: -1}, func(t *testing.T, c *cache.Cache[string, string]) {
		for i := range 10 {
			must(t, c.Set(t.Context(), fmt.Sprint(i), "v"))
		}
		loads := 0
		load := func(context.Context, string) (string, error) {
			loads++
			return "", fmt.Errorf("no such row: %w", cache.ErrNotFound)
		}
		for range 1000 {
			if _, err := c.GetOrLoad(t.Context(), "none", load); !errors.Is(err, cache.ErrNotFound) {
				t.Fatalf("the error is %v, want ErrNotFound", err)
			}
		}
		if loads != 1 {
			t.Errorf("1000 calls made %d loads, want 1", loads)
		}
		for i := range 1000 { // a scan
			_, _ = c.GetOrLoad(t.Context(), fmt.Sprint("none", i), load)
		}
		if s := c.Stats(); s.Entries != 10 || s.Negatives > 100 {
			t.Errorf("after a scan of what does not exist there are %d entries and %d negative ones, want 10 and at most 100", s.Entries, s.Negatives)
		}
		time.Sleep(time.Second)
		wantLoad(t, c, "none", "v", give("v"))
		wantGet(t, c, "none", "v")
	})
}

// Trap 9.
func TestBadStoreHarmsNobody(t *testing.T) {
	t.Parallel()
	for _, fault := range []cachetest.Fault{cachetest.Down, cachetest.Hung} {
		synctest.Test(t, func(t *testing.T) {
			engine := cachetest.NewEngine()
			client := engine.Client()
			client.SetFault(fault)
			c := uprung.Must(cache.New(1000, &cache.Options[string, string]{Store: client, Namespace: "n"}))
			defer c.Close()
			for i := range 100 {
				start := time.Now()
				wantLoad(t, c, fmt.Sprint(i), "v", give("v"))
				if took := time.Since(start); i < 5 && took > cache.DefaultStoreTimeout || i >= 5 && took > time.Millisecond {
					t.Errorf("miss %d took %v", i, took)
				}
			}
			if !c.Stats().StoreOpen || client.Calls() != 5 {
				t.Errorf("after 100 misses the store was called %d times, want 5 and no more", client.Calls())
			}
			time.Sleep(time.Second)
			client.SetFault(cachetest.None)
			wantLoad(t, c, "again", "v", give("v"))
			if c.Stats().StoreOpen || len(engine.Keys()) == 0 {
				t.Errorf("a second later the store is not used again: %v", engine.Keys())
			}
		})
	}
}

// Trap 9: what is stored is garbage, or of another version.
func TestGarbageInTheStoreIsLoadedAnew(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"noise":      func([]byte) []byte { return []byte("\x00\xff garbage") },
		"cut":        func(b []byte) []byte { return b[:len(b)-2] },
		"version":    func(b []byte) []byte { b[0]++; return b },
		"generation": func(b []byte) []byte { b[5]++; return b },
		"empty":      func([]byte) []byte { return []byte{} },
		"tags":       func(b []byte) []byte { b[10] = 200; return b },
	} {
		synctest.Test(t, func(t *testing.T) {
			engine := cachetest.NewEngine()
			open := func() *cache.Cache[string, string] {
				return uprung.Must(cache.New(10, &cache.Options[string, string]{Store: engine.Client(), Namespace: "n"}))
			}
			c := open()
			defer c.Close()
			wantLoad(t, c, "k", "old", give("old"))
			item, err := engine.Client().Get(t.Context(), "n:json:k")
			must(t, err)
			engine.Put("n:json:k", damage(item.Value))
			d := open()
			defer d.Close()
			wantGet(t, d, "k", "")
			wantLoad(t, d, "k", "new", give("new"))
			e := open()
			defer e.Close()
			if wantGet(t, e, "k", "new"); t.Failed() {
				t.Log(name)
			}
		})
	}
}

// Trap 9: a store that cannot be reached must not bring back what was invalidated.
func TestInvalidationOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	for name, invalidate := range map[string]func(*cache.Cache[string, string], context.Context) error{
		"key": func(c *cache.Cache[string, string], ctx context.Context) error { return c.Invalidate(ctx, "k") },
		"tag": func(c *cache.Cache[string, string], ctx context.Context) error { return c.InvalidateTag(ctx, "all") },
		"all": (*cache.Cache[string, string]).InvalidateAll,
		"set": func(c *cache.Cache[string, string], ctx context.Context) error { return c.Set(ctx, "k", "new") },
		"many": func(c *cache.Cache[string, string], ctx context.Context) error {
			keys := make([]string, 5000)
			for i := range keys {
				keys[i] = fmt.Sprint(i)
			}
			return c.Invalidate(ctx, append(keys, "k")...)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			engine := cachetest.NewEngine()
			client := engine.Client()
			c := uprung.Must(cache.New(10, &cache.Options[string, string]{Store: client, Namespace: "n", TagsOf: tagged}))
			defer c.Close()
			wantLoad(t, c, "k", "old", give("old"))
			client.SetFault(cachetest.Down)
			if err := invalidate(c, t.Context()); !errors.Is(err, cachetest.ErrDown) {
				t.Errorf("%s: the error is %v, want that of the store", name, err)
			}
			if c.Stats().Owed == 0 {
				t.Errorf("%s: nothing is owed", name)
			}
			wantLoad(t, c, "k", "new", give("new"))
			client.SetFault(cachetest.None)
			time.Sleep(2 * time.Second)
			_, _ = c.Get(t.Context(), "x") // the next use pays
			if owed := c.Stats().Owed; owed != 0 {
				t.Errorf("%s: %d keys are owed after the store is back", name, owed)
			}
			d := uprung.Must(cache.New(10, &cache.Options[string, string]{Store: engine.Client(), Namespace: "n", TagsOf: tagged}))
			defer d.Close()
			if v, _ := d.Get(t.Context(), "k"); v == "old" {
				t.Errorf("%s: another process reads %q", name, v)
			}
		})
	}
}

// Trap 10.
func TestLostInvalidationsConverge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := cachetest.NewEngine()
		deaf := engine.Client()
		open := func(client *cachetest.Client) *cache.Cache[string, string] {
			return uprung.Must(cache.New(10, &cache.Options[string, string]{Store: client, Namespace: "n", MemoryTTL: time.Minute}))
		}
		c, other := open(deaf), open(engine.Client())
		defer c.Close()
		defer other.Close()
		wantLoad(t, c, "k", "old", give("old"))
		must(t, other.Set(t.Context(), "k", "told"))
		wantGet(t, c, "k", "told")

		deaf.Disconnect() // and it is told so: nothing in memory is served
		must(t, other.Set(t.Context(), "k", "missed"))
		wantGet(t, c, "k", "missed")
		must(t, other.Set(t.Context(), "k", "missed too"))
		deaf.Reconnect()
		wantGet(t, c, "k", "missed too")
	})
	// Without a bus, and whatever becomes of it, after MemoryTTL.
	synctest.Test(t, func(t *testing.T) {
		engine := cachetest.NewEngine()
		open := func() *cache.Cache[string, string] {
			return uprung.Must(cache.New(10, &cache.Options[string, string]{Store: plainStore{engine.Client()}, Namespace: "n", MemoryTTL: time.Minute}))
		}
		c, other := open(), open()
		wantLoad(t, c, "k", "old", give("old"))
		must(t, other.Set(t.Context(), "k", "new"))
		wantGet(t, c, "k", "old")
		time.Sleep(time.Minute)
		wantGet(t, c, "k", "new")
	})
}

// Trap 10, with keys that cannot be turned back.
func TestBusTellsKeysOfAnyType(t *testing.T) {
	t.Parallel()
	type id struct{ Shop, Item int }
	synctest.Test(t, func(t *testing.T) {
		engine, bus := cachetest.NewEngine(), cache.NewLocalBus()
		open := func() *cache.Cache[id, string] {
			return uprung.Must(cache.New(10, &cache.Options[id, string]{
				Store: plainStore{engine.Client()}, Namespace: "n", Bus: bus,
				KeyString: func(k id) string { return fmt.Sprintf("%d/%d", k.Shop, k.Item) },
			}))
		}
		c, other := open(), open()
		defer c.Close()
		defer other.Close()
		key := id{1, 2}
		must(t, c.Set(t.Context(), key, "old"))
		if v, ok := other.Get(t.Context(), key); v != "old" || !ok {
			t.Errorf("the other has %q", v)
		}
		must(t, c.Set(t.Context(), key, "new"))
		if v, ok := other.Get(t.Context(), key); v != "new" || !ok {
			t.Errorf("the other has %q", v)
		}
		must(t, other.Invalidate(t.Context(), key))
		if v, ok := c.Get(t.Context(), key); ok {
			t.Errorf("after Invalidate elsewhere there is %q", v)
		}
	})
}

// Trap 12.
func TestJitterOnlyShortensAndRepeats(t *testing.T) {
	t.Parallel()
	lives := func(seed uint64) (lives []time.Duration) {
		bubble(t, 100, &cache.Options[string, string]{TTL: time.Minute, Jitter: 0.5, Seed: seed}, func(t *testing.T, c *cache.Cache[string, string]) {
			const n = 50
			for i := range n {
				must(t, c.Set(t.Context(), fmt.Sprint(i), "v"))
			}
			start := time.Now()
			gone := make([]bool, n)
			lives = make([]time.Duration, n)
			for time.Since(start) <= time.Minute {
				for i := range n {
					if _, ok := c.Get(t.Context(), fmt.Sprint(i)); !ok && !gone[i] {
						gone[i], lives[i] = true, time.Since(start)
					}
				}
				time.Sleep(time.Second)
			}
		})
		return lives
	}
	first := lives(1)
	different := make(map[time.Duration]bool)
	for i, life := range first {
		if life < 30*time.Second || life > time.Minute {
			t.Errorf("entry %d lives %v, want 30s to 1m", i, life)
		}
		different[life] = true
	}
	if len(different) < 15 {
		t.Errorf("50 entries have only %d lives", len(different))
	}
	if fmt.Sprint(lives(1)) != fmt.Sprint(first) {
		t.Error("the same seed gives other lives")
	}
	if fmt.Sprint(lives(2)) == fmt.Sprint(first) {
		t.Error("another seed gives the same lives")
	}
}

// Trap 13.
func TestCloneKeepsCallersApart(t *testing.T) {
	t.Parallel()
	c := uprung.Must(cache.New(10, &cache.Options[string, []int]{Clone: func(v []int) []int { return append([]int(nil), v...) }}))
	mine := []int{1}
	must(t, c.Set(t.Context(), "k", mine))
	mine[0] = 2
	for range 2 {
		got, ok := c.Get(t.Context(), "k")
		if !ok || got[0] != 1 {
			t.Errorf("Get is %v", got)
		}
		got[0] = 3
	}
}

// Trap 14.
func TestRefreshesAreBounded(t *testing.T) {
	t.Parallel()
	o := &cache.Options[string, string]{TTL: time.Minute, Jitter: -1, RefreshAhead: 1e9, MaxRefreshes: 3}
	bubble(t, 100, o, func(t *testing.T, c *cache.Cache[string, string]) {
		var loads, running, most atomic.Int64
		load := func(context.Context, string) (string, error) {
			loads.Add(1)
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Second)
			return "v", nil
		}
		for i := range 20 {
			wantLoad(t, c, fmt.Sprint(i), "v", load)
		}
		time.Sleep(35 * time.Second) // all are due, and none is stale
		start := time.Now()
		most.Store(0)
		for i := range 20 {
			wantLoad(t, c, fmt.Sprint(i), "v", load)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("who is served a value that is to be refreshed waits %v", took)
		}
		synctest.Wait()
		if s := c.Stats(); most.Load() > 3 || s.Refreshes != 3 || s.RefreshesDropped != 17 {
			t.Errorf("%d refreshes at a time, %d in all and %d dropped, want 3, 3, 17", most.Load(), s.Refreshes, s.RefreshesDropped)
		}
		before := loads.Load()
		time.Sleep(time.Hour) // nobody asks: nothing is refreshed
		if loads.Load() != before {
			t.Errorf("%d loads of what nobody asks for", loads.Load()-before)
		}
	})
}

// Trap 14: what was invalidated while it was refreshed does not come back.
func TestRefreshBringsNothingBack(t *testing.T) {
	t.Parallel()
	o := &cache.Options[string, string]{TTL: time.Minute, Jitter: -1, RefreshAhead: 1e9}
	bubble(t, 10, o, func(t *testing.T, c *cache.Cache[string, string]) {
		var loads atomic.Int64
		load := slow(&loads, time.Second, "v")
		wantLoad(t, c, "k", "v", load)
		time.Sleep(35 * time.Second)
		wantLoad(t, c, "k", "v", load)
		synctest.Wait()
		must(t, c.Invalidate(t.Context(), "k"))
		time.Sleep(time.Minute / 2)
		if wantGet(t, c, "k", ""); loads.Load() != 2 {
			t.Errorf("there were %d loads, want 2", loads.Load())
		}
	})
}

// Trap 16.
func TestStoreKeysDoNotCollide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := cachetest.NewEngine()
		var all []*cache.Cache[string, string]
		for _, o := range []cache.Options[string, string]{
			{Namespace: "a"}, {Namespace: "ab"}, {Namespace: "a", Codec: versioned{cache.JSON[string](), "json2"}},
		} {
			o.Store = engine.Client()
			all = append(all, uprung.Must(cache.New(10, &o)))
		}
		for i, c := range all {
			for _, key := range []string{"", ":", "b:json:", "all", ":all", "tag:x"} {
				if v, ok := c.Get(t.Context(), key); ok {
					t.Errorf("cache %d reads %q, which another wrote, for %q", i, v, key)
				}
				must(t, c.Set(t.Context(), key, fmt.Sprint(i, key)))
			}
		}
		for i, c := range all {
			for _, key := range []string{"", ":", "b:json:", "all", ":all", "tag:x"} {
				wantGet(t, c, key, fmt.Sprint(i, key))
			}
			must(t, c.Close())
		}
	})
}

type versioned struct {
	cache.Codec[string]
	name string
}

func (v versioned) Name() string { return v.name }

// Trap 17.
func TestEachCallIsCountedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := cachetest.NewEngine()
		open := func() *cache.Cache[string, string] {
			return uprung.Must(cache.New(10, &cache.Options[string, string]{Store: engine.Client(), Namespace: "n"}))
		}
		c := open()
		defer c.Close()
		none := func(context.Context, string) (string, error) { return "", cache.ErrNotFound }
		many := func(_ context.Context, keys []string) (map[string]string, error) {
			return map[string]string{keys[0]: "v"}, nil
		}
		calls := []func() (what string, s cache.Stats){
			func() (string, cache.Stats) {
				_, _ = c.Get(t.Context(), "k")
				return "Get of nothing", cache.Stats{Misses: 1}
			},
			func() (string, cache.Stats) {
				wantLoad(t, c, "k", "v", give("v"))
				return "a load", cache.Stats{Misses: 1}
			},
			func() (string, cache.Stats) {
				wantLoad(t, c, "k", "v", give("v"))
				return "GetOrLoad of what is there", cache.Stats{Hits: 1}
			},
			func() (string, cache.Stats) {
				wantGet(t, c, "k", "v")
				return "Get of what is there", cache.Stats{Hits: 1}
			},
			func() (string, cache.Stats) {
				_, _ = c.GetOrLoad(t.Context(), "bad", fail)
				return "a load that fails", cache.Stats{Misses: 1}
			},
			func() (string, cache.Stats) {
				_, _ = c.GetOrLoad(t.Context(), "none", none)
				return "a load of nothing", cache.Stats{Misses: 1}
			},
			func() (string, cache.Stats) {
				_, _ = c.GetOrLoad(t.Context(), "none", none)
				return "known not to exist", cache.Stats{NegativeHits: 1}
			},
			func() (string, cache.Stats) {
				d := open()
				defer d.Close()
				must(t, d.Set(t.Context(), "far", "v"))
				wantLoad(t, c, "far", "v", fail)
				return "of the store", cache.Stats{StoreHits: 1}
			},
			func() (string, cache.Stats) {
				_, err := c.GetOrLoadMany(t.Context(), []string{"k", "m", "k"}, many)
				must(t, err)
				return "many", cache.Stats{Hits: 1, Misses: 1}
			},
		}
		for _, call := range calls {
			before := c.Stats()
			what, want := call()
			after := c.Stats()
			got := cache.Stats{
				Hits: after.Hits - before.Hits, StoreHits: after.StoreHits - before.StoreHits, Misses: after.Misses - before.Misses,
				NegativeHits: after.NegativeHits - before.NegativeHits, StaleHits: after.StaleHits - before.StaleHits,
			}
			if got != want {
				t.Errorf("%s: counted %+v, want %+v", what, got, want)
			}
		}
	})
}

// Trap 18.
func TestManyCallersOneLoad(t *testing.T) {
	t.Parallel()
	const processes, callers = 4, 2500
	for _, store := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			engine := cachetest.NewEngine()
			var loads, wrong atomic.Int64
			var all sync.WaitGroup
			for range processes {
				o := &cache.Options[string, string]{}
				if store {
					o.Store, o.Namespace = engine.Client(), "n"
				}
				c := uprung.Must(cache.New(10, o))
				for range callers {
					all.Go(func() {
						if v, err := c.GetOrLoad(t.Context(), "k", slow(&loads, time.Second, "v")); v != "v" || err != nil {
							wrong.Add(1)
						}
					})
				}
			}
			all.Wait()
			want := int64(processes)
			if store {
				want = 1
			}
			if loads.Load() != want || wrong.Load() != 0 {
				t.Errorf("with a store %v: %d loads and %d failures, want %d and none", store, loads.Load(), wrong.Load(), want)
			}
		})
	}
}

// A process that dies while it loads is followed by another soon.
func TestDeadLeaderIsFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := cachetest.NewEngine()
		_, err := engine.Client().Lease(t.Context(), "n:json:k", cache.DefaultLease) // and never heard of again
		must(t, err)
		c := uprung.Must(cache.New(10, &cache.Options[string, string]{Store: engine.Client(), Namespace: "n"}))
		defer c.Close()
		start := time.Now()
		wantLoad(t, c, "k", "v", give("v"))
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("it took %v to take over, want at most 500ms", took)
		}
	})
}

// A lease lasts as long as its load does.
func TestLongLoadKeepsItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine := cachetest.NewEngine()
		var loads atomic.Int64
		var all sync.WaitGroup
		for range 3 {
			c := uprung.Must(cache.New(10, &cache.Options[string, string]{Store: engine.Client(), Namespace: "n"}))
			defer c.Close()
			all.Go(func() { wantLoad(t, c, "k", "v", slow(&loads, 10*time.Second, "v")) })
		}
		all.Wait()
		if loads.Load() != 1 {
			t.Errorf("a load of 10s was made %d times, want once", loads.Load())
		}
	})
}

// Trap 19.
func TestNewSucceedsWithoutItsStore(t *testing.T) {
	t.Parallel()
	client := cachetest.NewEngine().Client()
	client.SetFault(cachetest.Hung)
	c, err := cache.New(10, &cache.Options[string, string]{Store: client, Namespace: "n"})
	must(t, err)
	if client.Calls() != 0 {
		t.Errorf("New called the store %d times", client.Calls())
	}
	must(t, c.Close())
}

func TestStaleIfError(t *testing.T) {
	t.Parallel()
	o := &cache.Options[string, string]{TTL: time.Minute, Jitter: -1, StaleIfError: time.Hour}
	bubble(t, 10, o, func(t *testing.T, c *cache.Cache[string, string]) {
		wantLoad(t, c, "k", "old", give("old"))
		time.Sleep(time.Minute)
		wantGet(t, c, "k", "") // Get serves nothing stale
		loads := 0
		failing := func(context.Context, string) (string, error) { loads++; return "", errLoad }
		for range 100 {
			wantLoad(t, c, "k", "old", failing)
		}
		if s := c.Stats(); loads != 1 || s.StaleHits == 0 {
			t.Errorf("within a second, %d loads failed, and %d stale values were served", loads, s.StaleHits)
		}
		time.Sleep(time.Second)
		wantLoad(t, c, "k", "new", give("new"))
		time.Sleep(time.Minute)
		if _, err := c.GetOrLoad(t.Context(), "k", func(context.Context, string) (string, error) { return "", cache.ErrNotFound }); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("what was deleted at its origin is served after: %v", err)
		}
		wantLoad(t, c, "j", "old", give("old"))
		time.Sleep(time.Minute + time.Hour)
		if _, err := c.GetOrLoad(t.Context(), "j", fail); !errors.Is(err, errLoad) {
			t.Errorf("after StaleIfError the error is %v, want that of the loader", err)
		}
	})
}

func TestSoftTimeout(t *testing.T) {
	t.Parallel()
	o := &cache.Options[string, string]{TTL: time.Minute, Jitter: -1, StaleIfError: time.Hour, LoadSoftTimeout: 100 * time.Millisecond}
	bubble(t, 10, o, func(t *testing.T, c *cache.Cache[string, string]) {
		wantLoad(t, c, "k", "old", give("old"))
		time.Sleep(time.Minute)
		var loads atomic.Int64
		start := time.Now()
		wantLoad(t, c, "k", "old", slow(&loads, time.Second, "new"))
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("the stale value came after %v, want 100ms", took)
		}
		time.Sleep(time.Second)
		if wantGet(t, c, "k", "new"); loads.Load() != 1 {
			t.Errorf("there were %d loads, want one that went on", loads.Load())
		}
	})
}

func TestCloseEndsLoads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := uprung.Must(cache.New[string, string](10, nil))
		must(t, c.Set(t.Context(), "there", "v"))
		var loads atomic.Int64
		failed := make(chan error)
		go func() {
			_, err := c.GetOrLoad(t.Context(), "k", slow(&loads, time.Hour, "v"))
			failed <- err
		}()
		synctest.Wait()
		go func() { _ = c.Close() }()
		if err := <-failed; !errors.Is(err, cache.ErrClosed) {
			t.Errorf("who waits has %v, want ErrClosed", err)
		}
		must(t, c.Close())
		if _, err := c.GetOrLoad(t.Context(), "k", give("v")); !errors.Is(err, cache.ErrClosed) {
			t.Errorf("after Close the error is %v, want ErrClosed", err)
		}
		wantLoad(t, c, "there", "v", give("w"))
	})
}

func TestManyLoadsWhatIsMissingOnce(t *testing.T) {
	t.Parallel()
	for _, stored := range []string{"memory", "store", "plain store"} {
		synctest.Test(t, func(t *testing.T) {
			engine := cachetest.NewEngine()
			open := func() *cache.Cache[int, int] {
				o := &cache.Options[int, int]{}
				switch stored {
				case "store":
					o.Store, o.Namespace = engine.Client(), "n"
				case "plain store":
					o.Store, o.Namespace = plainStore{engine.Client()}, "n"
				}
				return uprung.Must(cache.New(1000, o))
			}
			c := open()
			defer c.Close()
			var loads, keysLoaded atomic.Int64
			load := func(_ context.Context, keys []int) (map[int]int, error) {
				loads.Add(1)
				keysLoaded.Add(int64(len(keys)))
				time.Sleep(time.Second)
				values := make(map[int]int)
				for _, key := range keys {
					if key%10 != 9 {
						values[key] = -key
					}
				}
				return values, nil
			}
			var all sync.WaitGroup
			for begin := range 5 {
				all.Go(func() {
					keys := make([]int, 100)
					for i := range keys {
						keys[i] = 20*begin + i
					}
					values, err := c.GetOrLoadMany(t.Context(), keys, load)
					if err != nil || len(values) != 90 {
						t.Errorf("%s: %d values, %v; want 90", stored, len(values), err)
					}
					for key, value := range values {
						if value != -key {
							t.Errorf("the value of %d is %d", key, value)
						}
					}
				})
			}
			all.Wait()
			if keysLoaded.Load() != 180 {
				t.Errorf("%s: of 180 keys %d were loaded", stored, keysLoaded.Load())
			}
			if stored == "memory" {
				return
			}
			d := open()
			defer d.Close()
			if v, err := d.GetOrLoad(t.Context(), 17, func(context.Context, int) (int, error) { return 0, errLoad }); v != -17 || err != nil {
				t.Errorf("%s: another process has %v, %v", stored, v, err)
			}
		})
	}
}

func TestManyPanics(t *testing.T) {
	t.Parallel()
	bubble(t, 10, nil, func(t *testing.T, c *cache.Cache[string, string]) {
		defer func() {
			if p := recover(); p != "broken" {
				t.Errorf("the panic is %v", p)
			}
			wantLoad(t, c, "a", "v", give("v"))
		}()
		_, _ = c.GetOrLoadMany(t.Context(), []string{"a", "b"}, func(context.Context, []string) (map[string]string, error) { panic("broken") })
	})
}

func TestNewNamesEveryBadField(t *testing.T) {
	t.Parallel()
	_, err := cache.New(0, &cache.Options[struct{}, string]{
		Name: "\n", Policy: 9, MaxBytes: -1, TTL: -1, Jitter: 2, NegativeCapacity: -1, RefreshAhead: -1, MaxRefreshes: -1,
		StaleIfError: -1, LoadSoftTimeout: -1, LoadTimeout: -1, MemoryTTL: -1, StoreTimeout: -1, Lease: -1,
		Store: cachetest.NewEngine().Client(), Namespace: "a:b", Codec: nil,
	})
	if err == nil {
		t.Fatal("everything is wrong, and New succeeds")
	}
	for _, field := range []string{
		"capacity", "Name", "Policy", "MaxBytes", "TTL", "Jitter", "NegativeCapacity", "RefreshAhead", "MaxRefreshes",
		"StaleIfError", "LoadSoftTimeout", "LoadTimeout", "MemoryTTL", "StoreTimeout", "Lease", "Namespace", "KeyString",
	} {
		if !strings.Contains(err.Error(), "cache: "+field+" is ") {
			t.Errorf("the error does not name %s:\n%v", field, err)
		}
	}
}
