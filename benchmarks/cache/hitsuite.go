package cache

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// shares of the distinct keys of a trace that a cache has room for, in percent.
var shares = []int{1, 5, 20}

const (
	leastSize  = 64  // of a cache
	judgedSize = 300 // from which on cells are judged: below, a handful of entries decides
)

// HitSuite returns the suite of hit ratios.
func HitSuite() *bench.Suite {
	h := &hits{}
	s := &bench.Suite{
		Name: "cache-hit",
		Workload: fmt.Sprintf(`each request gets a key and sets it if it is not there, one after the other; sizes are 1, 5 and 20 %% of the distinct keys
web12, orm-busy: recorded by cache2k, (c) headissue GmbH, Jens Wilke, CC BY 4.0; orm-busy is its first 500000 requests
zipf-S: 500000 draws from 100000 keys; loop-mix: half zipf-0.9 over 20000 keys, half a loop over 10000 others; scan-mix: zipf-0.9 over 20000 keys, and scans of 10000 keys
  that come once, every 25000 requests; seeded
belady is the best there can be, by who knows the future; of_belady = hits to its hits; above_inline = hit ratio less that of otter-inline
uprung has default settings and a seed; otter-inline is otter with Executor run inline, so that it is bounded; theine and ristretto work with other goroutines, and may hold more
  than their size, at small ones several times as much; ristretto drops sets as it sees fit. Peers have secret hashes: their figures differ from run to run
mean: over the cells of %d entries or more`, judgedSize),
		Targets: []bench.Target{
			{Case: "trace=.*", Metric: "above_inline", Bound: bench.AtLeast(-0.01)},
			{Case: "mean", Metric: "of_belady", Bound: bench.AtLeast(0.885)},
			{Case: "mean", Metric: "of_belady", Bound: bench.AtLeast(0.90), Stretch: true},
		},
	}
	contest := &bench.Contest[player]{}
	for _, p := range append(players(), player{name: optimal}) {
		contest.Impls = append(contest.Impls, bench.Impl[player]{Name: p.name, Open: func(*bench.Env) (player, error) { return p, nil }})
	}
	for _, tr := range traces() {
		for _, share := range shares {
			contest.Cases = append(contest.Cases, bench.Case[player]{
				Name:  fmt.Sprintf("trace=%s/size=%d%%", tr.name, share),
				Exact: true,
				Ratio: "hit_ratio",
				Begin: func(*bench.Env) func(player, *bench.Round) (bench.Figures, error) {
					return func(p player, r *bench.Round) (bench.Figures, error) { return h.cell(r.Env, tr, share, p) }
				},
			})
		}
	}
	contest.Cases = append(contest.Cases, bench.Case[player]{
		Name:  "mean",
		Exact: true,
		Ratio: "of_belady",
		Begin: func(*bench.Env) func(player, *bench.Round) (bench.Figures, error) {
			return func(p player, r *bench.Round) (bench.Figures, error) { return h.mean(r.Env, p) }
		},
	})
	s.Contests = append(s.Contests, contest)
	return s
}

const optimal = "belady"

// hits remembers what has been counted already: each cell is needed more than once.
type hits struct {
	mu     sync.Mutex
	traces map[string][]uint32
	sizes  map[string]int     // distinct keys of each trace
	ratios map[string]float64 // by trace, share and implementation
}

// load returns a trace and its number of distinct keys. It is called under mu.
func (h *hits) load(e *bench.Env, tr trace) ([]uint32, int, error) {
	if h.traces == nil {
		h.traces, h.sizes, h.ratios = make(map[string][]uint32), make(map[string]int), make(map[string]float64)
	}
	if keys := h.traces[tr.name]; keys != nil {
		return keys, h.sizes[tr.name], nil
	}
	keys, err := tr.make(e.Seed)
	if err != nil {
		return nil, 0, err
	}
	keys = keys[:e.Size(len(keys))]
	h.traces[tr.name], h.sizes[tr.name] = keys, distinct(keys)
	return keys, h.sizes[tr.name], nil
}

// ratio returns the hit ratio of an implementation and the size of the cache. It is called
// under mu.
func (h *hits) ratio(e *bench.Env, tr trace, share int, p player) (ratio float64, size int, err error) {
	keys, all, err := h.load(e, tr)
	if err != nil {
		return 0, 0, err
	}
	size = max(leastSize, all*share/100)
	cell := fmt.Sprintf("%s/%d/%s", tr.name, share, p.name)
	if ratio, ok := h.ratios[cell]; ok {
		return ratio, size, nil
	}
	counted := 0
	if p.name == optimal {
		counted = belady(keys, size)
	} else {
		request, end, err := p.make(size, e.Seed)
		if err != nil {
			return 0, 0, err
		}
		defer end()
		for _, key := range keys {
			if request(key) {
				counted++
			}
		}
	}
	h.ratios[cell] = float64(counted) / float64(len(keys))
	return h.ratios[cell], size, nil
}

func (h *hits) cell(e *bench.Env, tr trace, share int, p player) (bench.Figures, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ratio, size, err := h.ratio(e, tr, share, p)
	best, _, err2 := h.ratio(e, tr, share, player{name: optimal})
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	f := bench.Figures{"hit_ratio": ratio, "of_belady": part(ratio, best), "capacity": float64(size)}
	if strings.HasPrefix(p.name, bench.Ours) && (size >= judgedSize || e.Shrink > 1) {
		for _, inline := range players() {
			if inline.name == otterInline {
				theirs, _, err := h.ratio(e, tr, share, inline)
				if err != nil {
					return nil, err
				}
				f["above_inline"] = ratio - theirs
			}
		}
	}
	return f, nil
}

// mean is over the cells that are judged, and, where a test has shrunk all of them, over
// all.
func (h *hits) mean(e *bench.Env, p player) (bench.Figures, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum, cells := 0.0, 0
	for _, tr := range traces() {
		for _, share := range shares {
			ratio, size, err := h.ratio(e, tr, share, p)
			best, _, err2 := h.ratio(e, tr, share, player{name: optimal})
			if err := errors.Join(err, err2); err != nil {
				return nil, err
			}
			if size >= judgedSize || e.Shrink > 1 {
				sum += part(ratio, best)
				cells++
			}
		}
	}
	return bench.Figures{"of_belady": sum / float64(cells)}, nil
}

// part returns what a ratio is of the best, which is 0 in a trace where no key comes twice.
func part(ratio, best float64) float64 {
	if best == 0 {
		return 1
	}
	return ratio / best
}
