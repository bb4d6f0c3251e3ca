package httpcache

import (
	"sync/atomic"

	"github.com/uprung/uprung"
)

var _ uprung.Source = (*Cache)(nil)

// refusals are the reasons for which responses are not stored, in the order of figures.
var refusals = [...]refusal{
	refusedMethod, refusedStatus, refusedNoStore, refusedPrivate, refusedAuth, refusedCookie, refusedVary, refusedUnsaid,
	refusedSize, refusedIncomplete, refusedPurged, refusedEncoding,
}

// counters are what is counted.
type counters struct {
	hits, stale, misses, validations, validated, bypassed, collapsed, unmet atomic.Uint64
	stored, invalidated, purges, tagsIgnored                                atomic.Uint64
	shadowHits, shadowWrong                                                 atomic.Uint64
	refused                                                                 [len(refusals)]atomic.Uint64
}

func (c *counters) refuse(why refusal) {
	for at, one := range refusals {
		if one == why {
			c.refused[at].Add(1)
		}
	}
}

// Stats are the figures of a [Cache] since it was made.
type Stats struct {
	// Hits counts requests that were answered from the cache without the origin, Stale
	// those of them, and of those that the origin failed, whose response was stale.
	Hits, Stale uint64
	// Misses counts requests for which there was nothing, and Validations those for which
	// the origin was asked whether it is still so. Of those Validated were.
	Misses, Validations, Validated uint64
	// Collapsed counts requests that got what another had fetched.
	Collapsed uint64
	// Bypassed counts requests that are none of a cache's, and Unmet those that wanted a
	// stored response or none.
	Bypassed, Unmet uint64
	// Stored counts responses that were stored, and Refused those that were not, by
	// reason.
	Stored  uint64
	Refused map[string]uint64
	// Invalidated counts stored responses that unsafe requests have ended, Purges calls of
	// the methods that purge, Evicted responses that had to make room, and TagsIgnored
	// tags that were malformed or over the limits.
	Invalidated, Purges, Evicted, TagsIgnored uint64
	// Entries and Bytes are what is stored now.
	Entries, Bytes int64
	// ShadowHits counts requests that would have been hits but for the mode, and
	// ShadowWrong those of them to which the origin answered otherwise.
	ShadowHits, ShadowWrong uint64
}

// Stats returns a snapshot.
func (c *Cache) Stats() Stats {
	n := &c.count
	s := Stats{
		Hits: n.hits.Load(), Stale: n.stale.Load(), Misses: n.misses.Load(), Validations: n.validations.Load(), Validated: n.validated.Load(),
		Collapsed: n.collapsed.Load(), Bypassed: n.bypassed.Load(), Unmet: n.unmet.Load(), Stored: n.stored.Load(),
		Invalidated: n.invalidated.Load(), Purges: n.purges.Load(), Evicted: c.store.evicted.Load(), TagsIgnored: n.tagsIgnored.Load(),
		Entries: c.store.entries.Load(), Bytes: c.store.used.Load(), ShadowHits: n.shadowHits.Load(), ShadowWrong: n.shadowWrong.Load(),
		Refused: make(map[string]uint64, len(refusals)),
	}
	for at, why := range refusals {
		s.Refused[string(why)] = n.refused[at].Load()
	}
	return s
}

// Metrics yields the figures of Stats for an exporter.
func (c *Cache) Metrics(yield func(uprung.Metric) bool) {
	s := c.Stats()
	metric := func(typ uprung.MetricType, name, help string, value float64, labels ...uprung.Label) bool {
		return yield(uprung.Metric{Name: name, Help: help, Type: typ, Value: value, Labels: append([]uprung.Label{{Name: "cache", Value: c.o.Name}}, labels...)})
	}
	const requests = "Requests by what was done: hit, miss, validation (the origin was asked), collapsed (got what another fetched), bypass, unmet (only-if-cached)."
	for _, one := range []struct {
		result string
		count  uint64
	}{{"hit", s.Hits}, {"miss", s.Misses}, {"validation", s.Validations}, {"collapsed", s.Collapsed}, {"bypass", s.Bypassed}, {"unmet", s.Unmet}} {
		if !metric(uprung.Counter, "uprung_httpcache_requests_total", requests, float64(one.count), uprung.Label{Name: "result", Value: one.result}) {
			return
		}
	}
	for _, why := range refusals {
		if !metric(uprung.Counter, "uprung_httpcache_refused_total", "Responses that were not stored, by reason.", float64(s.Refused[string(why)]), uprung.Label{Name: "reason", Value: string(why)}) {
			return
		}
	}
	for _, one := range []struct {
		typ        uprung.MetricType
		name, help string
		value      float64
	}{
		{uprung.Counter, "uprung_httpcache_stale_total", "Stale responses that were used.", float64(s.Stale)},
		{uprung.Counter, "uprung_httpcache_validated_total", "Stored responses that the origin said are still so.", float64(s.Validated)},
		{uprung.Counter, "uprung_httpcache_stored_total", "Responses that were stored.", float64(s.Stored)},
		{uprung.Counter, "uprung_httpcache_invalidated_total", "Stored responses that unsafe requests have ended.", float64(s.Invalidated)},
		{uprung.Counter, "uprung_httpcache_purges_total", "Purges.", float64(s.Purges)},
		{uprung.Counter, "uprung_httpcache_evicted_total", "Stored responses that had to make room.", float64(s.Evicted)},
		{uprung.Counter, "uprung_httpcache_ignored_tags_total", "Tags that were malformed or over the limits.", float64(s.TagsIgnored)},
		{uprung.Counter, "uprung_httpcache_shadow_hits_total", "Requests that would have been hits, but for the mode.", float64(s.ShadowHits)},
		{uprung.Counter, "uprung_httpcache_shadow_wrong_total", "Of those, requests that the origin answered otherwise.", float64(s.ShadowWrong)},
		{uprung.Gauge, "uprung_httpcache_entries", "Responses that are stored.", float64(s.Entries)},
		{uprung.Gauge, "uprung_httpcache_stored_bytes", "What they take.", float64(s.Bytes)},
	} {
		if !metric(one.typ, one.name, one.help, one.value) {
			return
		}
	}
}

// Layer describes the cache and its effective settings.
func (c *Cache) Layer() uprung.Layer {
	settings := append([]uprung.Setting(nil), c.settings...)
	for at := range settings {
		if settings[at].Name == "Mode" {
			mode := c.Mode()
			settings[at].Value, settings[at].Default = mode.String(), mode == uprung.Enforce
		}
	}
	l := uprung.Layer{Kind: uprung.KindCache, Name: c.o.Name, Settings: settings}
	if c.o.Private == nil {
		l.Facts = append(l.Facts, uprung.SharedByAll)
	}
	return l
}
