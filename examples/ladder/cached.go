package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/internal/ladder"
)

// The origin serves 400 requests per second, and a quarter more come.
const (
	cachedWorkers = 5
	cachedService = 12500 * time.Microsecond
	cachedQueue   = 10_000 // nobody is refused: who is not served in time has failed
	cachedOffered = 500
	cachedKeys    = 100
	cachedEntries = cachedKeys * 3 / 4 // that there is room for
)

// originShare is how many requests went to the origin, of all.
const originShare = "origin_ratio"

// cached is the rung of package cache under traffic for many keys, of which some are far
// more popular than others.
//
// Without a cache all of them go to the origin, which can serve four fifths of them: the
// queue grows. With one for three quarters of the keys, one of five goes there at most, and p99 is
// half at most: in truth, there is no queue any more.
func cached() *ladder.Rung {
	return &ladder.Rung{
		Name: "cache",
		Story: "a quarter more comes than the origin can serve, for 100 pages of which some are popular; package cache keeps " +
			"75 of them, those that are asked for again.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: cachedOffered, Keys: cachedKeys, Judged: true}},
		Settle:   300 * time.Millisecond,
		Window:   1200 * time.Millisecond,
		Patience: 600 * time.Millisecond,
		Handler: func(with bool) (http.Handler, error) {
			origin, err := ladder.NewOrigin(cachedWorkers, cachedService, cachedQueue)
			if err != nil {
				return nil, err
			}
			p, err := newPages(origin, cachedEntries)
			if err != nil {
				return nil, err
			}
			if !with {
				p.find = p.load
			}
			return p, nil
		},
		Promises: []ladder.Promise{
			{
				Metric: originShare, Title: "share that the origin gets", Better: ladder.Lower, Format: "%.3f",
				Of:    func(r *ladder.Record) float64 { return r.Figures[originShare] },
				After: 0.2,
			},
			{
				Metric: "p99_ms", Title: "p99", Better: ladder.Lower, Format: "%.0f ms",
				Of:     func(r *ladder.Record) float64 { return r.Latency(99).Seconds() * 1000 },
				Factor: 0.5,
			},
		},
	}
}

// originCalls is how many requests went to the origin.
const originCalls = "origin_calls"

// stampede is the rung of package cache at the moment when nothing is in the cache and
// everybody asks for the same.
//
// Without, that is with a cache that looks, loads and stores, all that come before the
// first answer go to the origin. With GetOrLoad, one does and the others wait for it.
func stampede() *ladder.Rung {
	return &ladder.Rung{
		Name: "stampede",
		Story: "everybody asks for one page, which is in no cache yet and takes 0.2 s to make; with package cache one request " +
			"goes to the origin, and all others wait for its answer.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: 300, Keys: 1, Judged: true}},
		Window:   1200 * time.Millisecond,
		Patience: 800 * time.Millisecond,
		Handler: func(with bool) (http.Handler, error) {
			origin, err := ladder.NewOrigin(100, 200*time.Millisecond, 1000)
			if err != nil {
				return nil, err
			}
			p, err := newPages(origin, 10)
			if err != nil {
				return nil, err
			}
			if !with {
				p.find = p.lookThenLoad
			}
			return p, nil
		},
		Promises: []ladder.Promise{
			{
				Metric: originCalls, Title: "requests to the origin", Better: ladder.Lower, Format: "%.0f",
				Of:    func(r *ladder.Record) float64 { return r.Figures[originCalls] },
				After: 1,
			},
			{
				Metric: "goodput_ratio", Title: "share of requests served", Better: ladder.Higher, Format: "%.3f",
				Of:    (*ladder.Record).Goodput,
				After: 0.99,
			},
		},
	}
}

// pages serves what an origin answers from a cache.
type pages struct {
	origin          http.Handler
	cache           *cache.Cache[string, []byte]
	find            func(ctx context.Context, path string) ([]byte, error)
	requests, calls atomic.Int64
}

func newPages(origin http.Handler, entries int) (*pages, error) {
	p := &pages{origin: origin}
	var err error
	// A seed has the same pages evicted each time that the ladder is climbed.
	if p.cache, err = cache.New(entries, &cache.Options[string, []byte]{Name: "pages", Seed: 1}); err != nil {
		return nil, err
	}
	p.find = func(ctx context.Context, path string) ([]byte, error) { return p.cache.GetOrLoad(ctx, path, p.load) }
	return p, nil
}

// lookThenLoad is how a cache is used that does not load by itself.
func (p *pages) lookThenLoad(ctx context.Context, path string) ([]byte, error) {
	if page, ok := p.cache.Get(ctx, path); ok {
		return page, nil
	}
	page, err := p.load(ctx, path)
	if err == nil {
		err = p.cache.Set(ctx, path, page)
	}
	return page, err
}

// load asks the origin.
func (p *pages) load(ctx context.Context, path string) ([]byte, error) {
	p.calls.Add(1)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	w := &kept{header: make(http.Header), status: http.StatusOK}
	p.origin.ServeHTTP(w, r)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case w.status != http.StatusOK:
		return nil, fmt.Errorf("the origin answers %d", w.status)
	}
	return w.body.Bytes(), nil
}

// ServeHTTP serves a page.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	page, err := p.find(r.Context(), r.URL.Path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	_, _ = w.Write(page) // fails only if the client has left
}

// Figures counts what went to the origin.
func (p *pages) Figures() map[string]float64 {
	calls := float64(p.calls.Load())
	return map[string]float64{originCalls: calls, originShare: calls / float64(max(p.requests.Load(), 1))}
}

// kept is a response that is not sent.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *kept) Header() http.Header         { return a.header }
func (a *kept) WriteHeader(status int)      { a.status = status }
func (a *kept) Write(b []byte) (int, error) { return a.body.Write(b) }
