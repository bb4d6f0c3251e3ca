package cache_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/cachetest"
)

// The first to use a namespace number its generations, and agree on the numbers: or else
// each would void what the others have loaded.
func TestManyProcessesMeetAnEmptyStore(t *testing.T) {
	t.Parallel()
	for range 50 {
		engine := cachetest.NewEngine()
		var loads atomic.Int64
		load := func(context.Context, string) (int, error) {
			loads.Add(1)
			return 1, nil
		}
		var caches []*cache.Cache[string, int]
		for range 8 {
			c, err := cache.New(10, &cache.Options[string, int]{
				Store: engine.Client(), Namespace: "cold", StoreTimeout: time.Minute, Lease: time.Minute,
				TagsOf: func(string, int) []string { return []string{"tag"} },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			caches = append(caches, c)
		}
		var all sync.WaitGroup
		for _, c := range caches {
			all.Go(func() {
				if _, err := c.GetOrLoad(t.Context(), "hot", load); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := loads.Load(); n != 1 {
			t.Fatalf("%d caches with an empty store made %d loads, want 1", len(caches), n)
		}
		for i, c := range caches {
			if _, ok := c.Get(t.Context(), "hot"); !ok {
				t.Fatalf("cache %d cannot use what another has loaded", i)
			}
		}
	}
}
