package httpcache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/cache/httpcache"
)

func now() string { return time.Now().UTC().Format(http.TimeFormat) }

// purges is the contest of what it costs to end what has a tag, or to make it stale.
func purges() *bench.Contest[*tagged] {
	shared := &filled{} // neither takes anything out
	c := &bench.Contest[*tagged]{Impls: []bench.Impl[*tagged]{
		{Name: bench.Ours, Open: func(*bench.Env) (*tagged, error) {
			return &tagged{shared, func(c *httpcache.Cache) bool {
				known, err := c.PurgeTag(context.Background(), "http://shop.example", "all")
				return known == 1 && err == nil
			}}, nil
		}},
		{Name: bench.Ours + "-soft", Open: func(*bench.Env) (*tagged, error) {
			return &tagged{shared, func(c *httpcache.Cache) bool {
				known, err := c.SoftPurgeTag(context.Background(), "http://shop.example", "all")
				return known == 1 && err == nil
			}}, nil
		}},
	}}
	for _, n := range []int{100, 100_000} {
		c.Cases = append(c.Cases, bench.Case[*tagged]{
			Name: fmt.Sprintf("purge-tag/%d", n), Procs: 1, Ratio: "cpu_ns",
			Begin: func(*bench.Env) func(*tagged, *bench.Round) (bench.Figures, error) {
				return func(t *tagged, r *bench.Round) (bench.Figures, error) { return t.measure(n, r) }
			},
		})
	}
	return c
}

// tagged is a way to purge such a cache.
type tagged struct {
	*filled
	purge func(*httpcache.Cache) bool
}

// filled is a cache whose responses all have one tag, and each one of its own.
type filled struct {
	cache *httpcache.Cache
	n     int
}

// fill stores n responses.
func (t *filled) fill(n int) error {
	if t.n == n {
		return nil
	}
	store, err := httpcache.NewMemory(&httpcache.MemoryOptions{Budget: 4 << 30})
	if err != nil {
		return err
	}
	if t.cache, err = httpcache.New(store, nil); err != nil {
		return err
	}
	h := t.cache.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Surrogate-Key", "all item-"+r.URL.Path[1:])
	}))
	for at := range n {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("http://shop.example/%d", at), nil)
		if err != nil {
			return err
		}
		h.ServeHTTP(&discard{header: make(http.Header)}, r)
	}
	if t.n = n; t.cache.Stats().Entries != int64(n) {
		return errors.New("not all responses were stored")
	}
	return nil
}

func (t *tagged) measure(n int, r *bench.Round) (bench.Figures, error) {
	if err := t.fill(n); err != nil {
		return nil, err
	}
	return r.Loop(func(_, _, ops int) int {
		for at := range ops {
			if !t.purge(t.cache) {
				return at
			}
		}
		return ops
	})
}
