package cache

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// Stats are counts since New and sizes at this moment. Each call of Get and GetOrLoad, and
// each key of GetOrLoadMany, is counted once, by what it came to.
type Stats struct {
	// Hits were served from memory, StoreHits from the store.
	Hits, StoreHits uint64
	// NegativeHits were told from memory that there is no value.
	NegativeHits uint64
	// StaleHits were served a value after its time, since loading it failed or took long.
	StaleHits uint64
	// Misses is all others: loaded, not found, failed.
	Misses uint64

	// Loads is the number of calls of loaders, LoadErrors of those that failed other than
	// by ErrNotFound, and LoadTime the time that all of them took.
	Loads, LoadErrors uint64
	LoadTime          time.Duration
	// Refreshes is the number of loads ahead of time, and RefreshesDropped of those that
	// were due while there were MaxRefreshes.
	Refreshes, RefreshesDropped uint64
	// Overtaken is the number of values that were not kept, since they were invalidated
	// or set while they were loaded, or since nobody waited any more.
	Overtaken uint64

	// Evicted is the number of entries removed to make room, Expired of those that were
	// found to be of no more use, Refused of those heavier than the bound, and Invalidated
	// of keys removed by Invalidate or the bus.
	Evicted, Expired, Refused, Invalidated uint64
	// Entries and Negatives are in memory, Bytes is their weight by the Weigher.
	Entries, Negatives int
	Bytes              int64
	// Capacity is what the cache was made for, and Shards the parts that it is divided
	// into.
	Capacity, Shards int

	// StoreErrors is the number of failed calls of the store, and Malformed of values in
	// it that could not be decoded.
	StoreErrors, Malformed uint64
	// StoreOpen says that the store is left alone for a while after errors in a row.
	StoreOpen bool
	// Owed is the number of deletions that did not reach the store yet.
	Owed int
	// LeaseWaits is how often the load of another process was waited for.
	LeaseWaits uint64
	// Heard is the number of keys of which the bus told, and Lost how often it may have
	// lost some.
	Heard, Lost uint64
}

// outcome is what a call came to.
type outcome uint8

const (
	memoryHit outcome = iota
	storeHit
	negativeHit
	staleHit
	miss
	outcomes
)

// counts are counters. Those of every call are spread, so that callers on different
// processors seldom write to one cache line.
type counts struct {
	spread [16]struct {
		of [outcomes]atomic.Uint64
		_  [128 - 8*outcomes]byte
	}
	loads, loadErrors           atomic.Uint64
	loadTime                    atomic.Int64
	refreshes, refreshesDropped atomic.Uint64
	overtaken, invalidated      atomic.Uint64
	storeErrors, malformed      atomic.Uint64
	leaseWaits, heard, lost     atomic.Uint64
}

func (c *counts) add(o outcome) {
	c.spread[rand.Uint32()%uint32(len(c.spread))].of[o].Add(1)
}

// Stats returns a snapshot, whose figures may be a few calls apart from one another.
func (c *Cache[K, V]) Stats() Stats {
	n := &c.counts
	s := Stats{
		Loads: n.loads.Load(), LoadErrors: n.loadErrors.Load(), LoadTime: time.Duration(n.loadTime.Load()),
		Refreshes: n.refreshes.Load(), RefreshesDropped: n.refreshesDropped.Load(),
		Overtaken: n.overtaken.Load(), Invalidated: n.invalidated.Load(),
		StoreErrors: n.storeErrors.Load(), Malformed: n.malformed.Load(),
		LeaseWaits: n.leaseWaits.Load(), Heard: n.heard.Load(), Lost: n.lost.Load(),
		Shards: len(c.shards),
	}
	for i := range n.spread {
		of := &n.spread[i].of
		s.Hits += of[memoryHit].Load()
		s.StoreHits += of[storeHit].Load()
		s.NegativeHits += of[negativeHit].Load()
		s.StaleHits += of[staleHit].Load()
		s.Misses += of[miss].Load()
	}
	for i := range c.shards {
		shard := &c.shards[i]
		shard.mu.Lock()
		v, a := &shard.values, &shard.absent
		s.Evicted += v.evicted + a.evicted
		s.Expired += v.expired + a.expired
		s.Refused += v.refused
		s.Entries += v.index.len
		s.Negatives += a.index.len
		s.Capacity += v.most
		if c.o.Weigher != nil {
			s.Bytes += v.weight
		}
		shard.mu.Unlock()
	}
	if c.tier != nil {
		s.StoreOpen, s.Owed = c.tier.gate.open(), c.tier.debts.size()
	}
	return s
}

// Metrics yields the figures of Stats for an exporter. It makes a Cache an
// [uprung.Source].
func (c *Cache[K, V]) Metrics(yield func(uprung.Metric) bool) {
	s := c.Stats()
	name := uprung.Label{Name: "cache", Value: c.o.Name}
	only := []uprung.Label{name}
	outcome := func(outcome string, n uint64) uprung.Metric {
		return uprung.Metric{
			Name: "uprung_cache_lookups_total", Type: uprung.Counter, Value: float64(n),
			Help:   "Lookups by outcome: hit (from memory), store_hit, negative_hit (known not to exist), stale_hit, miss.",
			Labels: []uprung.Label{name, {Name: "outcome", Value: outcome}},
		}
	}
	removal := func(reason string, n uint64) uprung.Metric {
		return uprung.Metric{
			Name: "uprung_cache_removals_total", Type: uprung.Counter, Value: float64(n),
			Help:   "Entries removed by reason: evicted (to make room), expired, invalidated, refused (heavier than the bound).",
			Labels: []uprung.Label{name, {Name: "reason", Value: reason}},
		}
	}
	counter := func(what, help string, n float64) uprung.Metric {
		return uprung.Metric{Name: "uprung_cache_" + what, Type: uprung.Counter, Help: help, Labels: only, Value: n}
	}
	gauge := func(what, help string, n float64) uprung.Metric {
		return uprung.Metric{Name: "uprung_cache_" + what, Type: uprung.Gauge, Help: help, Labels: only, Value: n}
	}
	open := 0.0
	if s.StoreOpen {
		open = 1
	}
	for _, m := range []uprung.Metric{
		outcome("hit", s.Hits),
		outcome("store_hit", s.StoreHits),
		outcome("negative_hit", s.NegativeHits),
		outcome("stale_hit", s.StaleHits),
		outcome("miss", s.Misses),
		removal("evicted", s.Evicted),
		removal("expired", s.Expired),
		removal("invalidated", s.Invalidated),
		removal("refused", s.Refused),
		counter("loads_total", "Calls of loaders.", float64(s.Loads)),
		counter("load_errors_total", "Calls of loaders that failed.", float64(s.LoadErrors)),
		counter("load_seconds_total", "Time that loaders took.", s.LoadTime.Seconds()),
		counter("refreshes_total", "Loads ahead of time.", float64(s.Refreshes)),
		counter("refreshes_dropped_total", "Loads ahead of time that were one too many.", float64(s.RefreshesDropped)),
		counter("overtaken_total", "Values not kept, since they were invalidated or set while they were loaded.", float64(s.Overtaken)),
		counter("store_errors_total", "Failed calls of the store.", float64(s.StoreErrors)),
		counter("malformed_total", "Values in the store that could not be decoded.", float64(s.Malformed)),
		counter("lease_waits_total", "Waits for the load of another process.", float64(s.LeaseWaits)),
		counter("heard_keys_total", "Keys that the bus told of.", float64(s.Heard)),
		counter("lost_total", "Times that the bus may have lost a message.", float64(s.Lost)),
		gauge("entries", "Entries in memory.", float64(s.Entries)),
		gauge("negative_entries", "Keys in memory known not to exist.", float64(s.Negatives)),
		gauge("weight_bytes", "Weight of the entries in memory, if they are weighed.", float64(s.Bytes)),
		gauge("capacity_entries", "Entries for which the cache was made.", float64(s.Capacity)),
		gauge("store_open", "1 while the store is left alone after errors.", open),
		gauge("owed_keys", "Deletions that did not reach the store yet.", float64(s.Owed)),
	} {
		if !yield(m) {
			return
		}
	}
}
