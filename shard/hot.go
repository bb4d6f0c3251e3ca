package shard

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/uprung/uprung/internal/splitmix"
)

const (
	// DefaultHotCapacity is the number of keys that a [Hot] keeps by default.
	DefaultHotCapacity = 512

	maxHotCapacity = 1 << 20
	hotWays        = 8       // keys in a set
	hotWindow      = 1 << 16 // keys after which counts are halved
	hotLeast       = hotWindow / 8
	hotRanks       = 10 // keys in Stats
)

// HotOptions are the settings of a [Hot]. The zero value of each field is its
// default.
type HotOptions struct {
	// Capacity is the number of keys that are counted, at 32 bytes each, rounded up
	// to 8 times a power of two; at most 1<<20. A key is sure to be found if its share
	// is well above 1/Capacity. Zero means [DefaultHotCapacity].
	Capacity int
	// Above is the share of all keys asked for, above 0 and at most 1, from which on
	// a key is hot. It stays so until its share falls below half of that. Zero means
	// 0.01.
	Above float64
	// Nodes is the number of nodes over which a hot key is spread, at least 1: the first
	// so many in its order of preference, or all if there are fewer. Zero means 2.
	Nodes int
}

// A Hot finds the keys that are asked for most, in a memory of fixed size, and says
// which of them to spread over several nodes.
//
// It is the space-saving sketch (Metwally, Agrawal, El Abbadi, ICDT 2005) in sets
// of eight: the hash of a key chooses a set, and a key that is not in its set takes
// the place of the one with the least count, which it inherits as its possible
// error. Shares are given without that error, and so are not above the truth.
// Concurrent calls make them less exact, usually too low: a call that finds its set
// busy leaves its work to the next, rather than wait, and a count may go to the key
// that has just taken the place of the one it was meant for.
//
// Shares are of recent keys: whenever 65,536 more have been asked for, all counts
// are halved. Until the first 8192 were, no key is hot. It holds hashes, no keys,
// and sets are chosen under a secret of the process, so that nobody can fill the
// set of somebody else's key.
//
// A Hot is safe for concurrent use, never blocks who observes and starts no
// goroutine. Use [NewHot]. It can serve several maps.
type Hot struct {
	secret uint64
	shift  uint8
	above  float64
	nodes  int
	sets   []hotSet
	total  atomic.Uint64 // keys observed
}

// hotSet counts the keys of one set. Counts are added to without the lock.
type hotSet struct {
	mu    sync.Mutex    // held to replace a key and to halve
	epoch atomic.Uint64 // windows that its counts have been halved for
	cells [hotWays]hotCell
}

// hotCell counts a key. It is free while its count is zero.
type hotCell struct {
	hash  atomic.Uint64
	count atomic.Int64
	over  atomic.Int64 // how much of count may be that of other keys
	hot   atomic.Bool
}

// NewHot returns a sketch. Nil options are the defaults. The error names every
// field that is out of range.
func NewHot(o *HotOptions) (*Hot, error) {
	if o == nil {
		o = &HotOptions{}
	}
	var errs []error
	if o.Capacity < 0 || o.Capacity > maxHotCapacity {
		errs = append(errs, fmt.Errorf("shard: HotOptions.Capacity is %d, want 0 to %d", o.Capacity, maxHotCapacity))
	}
	if !(o.Above >= 0 && o.Above <= 1) {
		errs = append(errs, fmt.Errorf("shard: HotOptions.Above is %v, want above 0 and at most 1", o.Above))
	}
	if o.Nodes < 0 || o.Nodes > MaxNodes {
		errs = append(errs, fmt.Errorf("shard: HotOptions.Nodes is %d, want 0 to %d", o.Nodes, MaxNodes))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	sets := (cmp.Or(o.Capacity, DefaultHotCapacity) + hotWays - 1) / hotWays
	width := bits.Len(uint(sets - 1))
	return &Hot{
		secret: rand.Uint64(),
		shift:  uint8(64 - width),
		above:  cmp.Or(o.Above, 0.01),
		nodes:  cmp.Or(o.Nodes, 2),
		sets:   make([]hotSet, 1<<width),
	}, nil
}

// Observe counts a key by its [Hash] and returns the place, in the table's order
// of preference, of the node to ask: 0, the key's own, unless it is hot; else one of 0
// to HotOptions.Nodes-1, as if drawn at random. It does not allocate.
func (h *Hot) Observe(hash uint64) (place int) { return h.place(hash, h.nodes) }

// place is Observe for what is spread over so many nodes, or fewer.
func (h *Hot) place(hash uint64, nodes int) int {
	count, hot := h.count(hash)
	if !hot {
		return 0
	}
	// Calls of all kinds raise the count, so that it may be even in all of one kind.
	// Scrambled, it has no such pattern.
	return scale(splitmix.Mix(uint64(count)), min(h.nodes, nodes))
}

// count counts a key, and returns its new count and whether it is hot.
func (h *Hot) count(hash uint64) (count int64, hot bool) {
	epoch := h.total.Add(1) / hotWindow
	s := h.set(hash)
	if s.epoch.Load() < epoch && s.mu.TryLock() {
		s.halve(epoch)
		s.mu.Unlock()
	}
	at := s.epoch.Load()
	for i := range s.cells {
		c := &s.cells[i]
		if c.hash.Load() != hash {
			continue
		}
		if c.count.Load() == 0 {
			continue // a free cell, and the hash is zero
		}
		count = c.count.Add(1)
		hot = c.hot.Load()
		// The total is read after the count, so that it holds all that the count does.
		// A count that may have been halved since then says nothing.
		if total := h.total.Load(); s.epoch.Load() == at {
			hot = h.decide(c, count, total, at)
		}
		return count, hot
	}
	if s.mu.TryLock() { // else the key is a rare one, or comes again
		s.insert(hash)
		s.mu.Unlock()
	}
	return 0, false
}

// set returns the set of a hash.
func (h *Hot) set(hash uint64) *hotSet { return &h.sets[splitmix.Mix(hash^h.secret)>>h.shift] }

// decide says whether the key of c is hot, by a count that was halved up to an epoch.
func (h *Hot) decide(c *hotCell, count int64, total, epoch uint64) bool {
	share := float64(count-c.over.Load()) / recent(total, epoch)
	hot := c.hot.Load()
	switch {
	case hot && share < h.above/2:
		c.hot.Store(false)
		return false
	case !hot && share >= h.above && total >= hotLeast:
		c.hot.Store(true)
		return true
	}
	return hot
}

// recent returns how much of a total is left when it is halved as counts are that
// have been halved up to an epoch: all since that began, half of the window before,
// a quarter of the one before that.
func recent(total, epoch uint64) float64 {
	return float64(max(1, total-epoch*hotWindow+hotWindow-hotWindow>>min(epoch, 63)))
}

// halve brings the counts up to an epoch, while mu is held.
func (s *hotSet) halve(epoch uint64) {
	behind := epoch - s.epoch.Load()
	if int64(behind) <= 0 {
		return
	}
	behind = min(behind, 63)
	for i := range s.cells {
		for _, n := range []*atomic.Int64{&s.cells[i].count, &s.cells[i].over} {
			v := n.Load()
			n.Add(v>>behind - v) // what is counted meanwhile remains
		}
	}
	s.epoch.Store(epoch)
}

// insert gives a cell to a key that has none, while mu is held.
func (s *hotSet) insert(hash uint64) {
	least := &s.cells[0]
	for i := range s.cells {
		c := &s.cells[i]
		if c.hash.Load() == hash && c.count.Load() > 0 { // since the caller looked
			c.count.Add(1)
			return
		}
		if c.count.Load() < least.count.Load() {
			least = c
		}
	}
	least.over.Store(least.count.Load())
	least.hot.Store(false)
	least.hash.Store(hash)
	least.count.Add(1)
}

// HotKey is one of the keys that are asked for most.
type HotKey struct {
	// Hash is the [Hash] of the key. It tells whoever can guess the key that it was
	// right.
	Hash uint64
	// Share is the key's share of all recent ones, 0 to 1.
	Share float64
	// Spread is true if the key is hot and so is to be spread.
	Spread bool
}

// HotStats are the figures of a [Hot] at this moment.
type HotStats struct {
	// Observed counts keys since NewHot.
	Observed uint64
	// Hottest are the ten keys with the largest share, the largest first, or fewer.
	Hottest []HotKey
	// Spread is the number of keys that are hot.
	Spread int
}

// Stats returns a snapshot, whose figures may be a few keys apart from one another.
// It reads the whole sketch, a few microseconds by default.
func (h *Hot) Stats() HotStats {
	stats := HotStats{Observed: h.total.Load()}
	for i := range h.sets {
		stats.add(h, &h.sets[i])
	}
	slices.SortFunc(stats.Hottest, func(a, b HotKey) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Hash, b.Hash))
	})
	stats.Hottest = slices.Clone(stats.Hottest[:min(hotRanks, len(stats.Hottest))])
	return stats
}

// add adds the keys of a set. Who observes one of them does not wait meanwhile.
func (stats *HotStats) add(h *Hot, s *hotSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := h.total.Load() / hotWindow
	s.halve(epoch) // nobody may have asked for its keys for long
	for i := range s.cells {
		c := &s.cells[i]
		count := c.count.Load()
		if count == 0 {
			continue
		}
		total := h.total.Load()
		k := HotKey{
			Hash:   c.hash.Load(),
			Share:  float64(count-c.over.Load()) / recent(total, s.epoch.Load()),
			Spread: h.decide(c, count, total, s.epoch.Load()),
		}
		if k.Spread {
			stats.Spread++
		}
		stats.Hottest = append(stats.Hottest, k)
	}
}
