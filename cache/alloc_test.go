package cache_test

import (
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/cachetest"
)

func TestAllocations(t *testing.T) {
	ctx := t.Context()
	for name, o := range map[string]*cache.Options[string, []byte]{
		"plain": nil,
		"rich": {
			TTL: time.Hour, RefreshAhead: 1, StaleIfError: time.Hour, Store: cachetest.NewEngine().Client(), Namespace: "n",
			TagsOf: func(string, []byte) []string { return []string{"tag"} },
		},
	} {
		c := uprung.Must(cache.New(100, o))
		load := give([]byte("v"))
		if _, err := c.GetOrLoad(ctx, "k", load); err != nil {
			t.Fatal(err)
		}
		for what, call := range map[string]func(){
			"Get":       func() { c.Get(ctx, "k") },
			"GetOrLoad": func() { c.GetOrLoad(ctx, "k", load) },
			"Stats":     func() { c.Stats() },
		} {
			if n := testing.AllocsPerRun(100, call); n > 0 {
				t.Errorf("%s: %s allocates %v times, want 0", name, what, n)
			}
		}
		value := []byte("v")
		if n := testing.AllocsPerRun(100, func() { c.Set(ctx, "s", value) }); name == "plain" && n > 1 {
			t.Errorf("Set allocates %v times, want 1", n)
		}
		if s := c.Stats(); s.Loads != 1 {
			t.Errorf("%s: there were %d loads, want 1", name, s.Loads)
		}
	}
}
