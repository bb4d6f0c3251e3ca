package cache_test

import (
	"context"
	"testing"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/cachetest"
)

// refusing is a store with a breaker of its own.
type refusing struct {
	cache.Store
	open bool
}

func (r *refusing) Get(ctx context.Context, key string) (cache.Item, error) {
	if r.open {
		return cache.Item{}, &uprung.Rejection{Kind: uprung.KindBreaker}
	}
	return r.Store.Get(ctx, key)
}

// A refusal is no failure: two breakers in a row would take the time of both to close.
func TestAStoreThatRefusesIsAskedAgainAtOnce(t *testing.T) {
	t.Parallel()
	store := &refusing{Store: cachetest.NewEngine().Client()}
	c, err := cache.New(10, &cache.Options[string, int]{Store: store, Namespace: "refusing"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Set(t.Context(), "kept", 1); err != nil {
		t.Fatal(err)
	}
	store.open = true
	for range 100 {
		if _, ok := c.Get(t.Context(), "other"); ok {
			t.Fatal("what is not there is found")
		}
	}
	store.open = false
	if c.Stats().StoreOpen {
		t.Error("the store is left alone after it has refused")
	}
	if err := c.Invalidate(t.Context(), "kept"); err != nil {
		t.Errorf("Invalidate after the refusals: %v", err)
	}
}
