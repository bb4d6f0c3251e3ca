package ratelimit

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
)

// table maps 64-bit hashes of keys to their states: for a token bucket, the
// instant in ticks at which it will be full again. It holds a fixed number of
// slots of 16 bytes and no pointer. Of two states, the smaller one is nearer to
// that of a key that was never charged.
//
// A key may stand in either of two buckets of eight slots. Finding and charging
// it takes no lock. Inserting takes the stripe locks of both buckets and, when
// all sixteen slots are taken, evicts the one with the smallest state, the slot
// nearest to full: dropping a full bucket loses nothing, and an abuser's, which
// is the emptiest, is the last to go.
//
// The order in which a slot is reused keeps a charge from landing on another
// key:
//
//   - who charges reads the key, then the state, then the key again, and changes
//     the state by compare-and-swap;
//   - who evicts first swaps the state for a sentinel, so that every such swap
//     under way fails, then stores the key, then the state;
//   - a new key's state is stored already charged, so that a swap which expects
//     an older value fails. Only one equal to the tick could pass; who charges
//     therefore reads the key once more afterwards and, if it has changed, starts
//     again: the worst is one charge too many, never one too few.
type table struct {
	buckets []bucket
	stripes []stripe // a power of two
}

// slotsPerBucket slots of 16 bytes are two cache lines.
const slotsPerBucket = 8

type bucket [slotsPerBucket]slot

// bucketsPerPage is how many buckets fill 4 KiB.
const bucketsPerPage = 4096 / (16 * slotsPerBucket)

type slot struct {
	key   atomic.Uint64 // zero means empty
	state atomic.Int64
}

// inTransition is the state of a slot that is being given to another key.
const inTransition = math.MinInt64

// stripe guards the insertions into every len(stripes)-th bucket and counts
// what happens to their keys. It fills a cache line.
type stripe struct {
	mu      sync.Mutex
	granted atomic.Uint64 // decisions
	denied  atomic.Uint64
	shadow  atomic.Uint64
	evicted atomic.Uint64 // live keys
	keys    atomic.Int64  // slots in use
	_       [16]byte
}

// maxStripes is ample for the cores of one machine.
const maxStripes = 256

// crowded is how many keys a first bucket takes before the emptier of the two
// is preferred: of a million random keys in a table of 1.5 million slots, all but
// twenty find an empty slot, and 85 % of them in the bucket that is searched
// first.
const crowded = 5

// newTable returns a table in which keys live keys find room: it has half as
// many slots again.
func newTable(keys int) table {
	buckets := max(2, (keys+keys/2+slotsPerBucket-1)/slotsPerBucket)
	if buckets > bucketsPerPage {
		buckets = (buckets + bucketsPerPage - 1) / bucketsPerPage * bucketsPerPage // whole pages
	}
	stripes := 1
	for stripes < maxStripes && stripes < buckets {
		stripes *= 2
	}
	return table{buckets: make([]bucket, buckets), stripes: make([]stripe, stripes)}
}

// home returns the bucket of a hash that is searched first.
func (t *table) home(hash uint64) uint64 {
	bucket, _ := bits.Mul64(hash, uint64(len(t.buckets)))
	return bucket
}

// homes returns the two buckets of a hash. They differ, and lie in one page of
// memory, so that looking into the second finds its address translated.
func (t *table) homes(hash uint64) (first, second uint64) {
	first = t.home(hash)
	span := min(uint64(len(t.buckets)), bucketsPerPage)
	place := first % bucketsPerPage
	// The first bucket is chosen by the high bits of the hash; these are the low.
	other := place + 1 + uint64(uint32(hash))*(span-1)>>32
	if other >= span {
		other -= span
	}
	return first, first - place + other
}

// stripe returns the stripe of a bucket.
func (t *table) stripe(bucket uint64) *stripe {
	return &t.stripes[bucket&uint64(len(t.stripes)-1)]
}

// find returns the slot of a hash, or nil.
func (t *table) find(hash, first, second uint64) *slot {
	if s := t.buckets[first].find(hash); s != nil {
		return s
	}
	return t.buckets[second].find(hash)
}

func (b *bucket) find(hash uint64) *slot {
	for i := range b {
		if b[i].key.Load() == hash {
			return &b[i]
		}
	}
	return nil
}

// lock takes the stripe locks of two buckets, in the order of the stripes.
// Without both, two racing insertions could put one key in twice.
func (t *table) lock(first, second uint64) {
	mask := uint64(len(t.stripes) - 1)
	a, b := min(first&mask, second&mask), max(first&mask, second&mask)
	t.stripes[a].mu.Lock()
	if a != b {
		t.stripes[b].mu.Lock()
	}
}

func (t *table) unlock(first, second uint64) {
	mask := uint64(len(t.stripes) - 1)
	t.stripes[first&mask].mu.Unlock()
	if first&mask != second&mask {
		t.stripes[second&mask].mu.Unlock()
	}
}

// insert gives a slot to a hash that has none, with the given state. The
// caller holds the locks of both buckets. Slots whose state is not above idle are
// of full buckets, and dropping one is not counted as an eviction.
func (t *table) insert(hash, first, second uint64, state, idle int64) {
	empty1, used1, oldest1 := t.buckets[first].survey(idle)
	victim, home := empty1, first
	if used1 >= crowded {
		empty2, used2, oldest2 := t.buckets[second].survey(idle)
		switch {
		case used2 < used1:
			victim, home = empty2, second
		case empty1 != nil:
		case since(oldest2.state.Load(), idle) < since(oldest1.state.Load(), idle):
			victim, home = oldest2, second
		default:
			victim = oldest1
		}
	}
	old := victim.state.Load()
	for !victim.state.CompareAndSwap(old, inTransition) {
		old = victim.state.Load()
	}
	s := t.stripe(home)
	switch {
	case victim.key.Load() == 0:
		s.keys.Add(1)
	case since(old, idle) > 0:
		s.evicted.Add(1)
	}
	victim.key.Store(hash)
	victim.state.Store(state)
}

// stateOf returns the state of a hash, or the least there is.
func (t *table) stateOf(hash uint64) int64 {
	first, second := t.homes(hash)
	if s := t.find(hash, first, second); s != nil {
		if state := s.state.Load(); s.key.Load() == hash {
			return state
		}
	}
	return math.MinInt64
}

// raise sets the state of a hash, unless it is higher already.
func (t *table) raise(hash uint64, state, idle int64) {
	first, second := t.homes(hash)
	t.lock(first, second)
	defer t.unlock(first, second)
	if s := t.find(hash, first, second); s != nil {
		s.state.Store(max(s.state.Load(), state))
		return
	}
	t.insert(hash, first, second, state, idle)
}

// survey returns an empty slot of a bucket, or nil, the number of slots in use
// and the one of these with the smallest state, seen from idle.
func (b *bucket) survey(idle int64) (empty *slot, used int, oldest *slot) {
	smallest := int64(math.MaxInt64)
	for i := range b {
		s := &b[i]
		if s.key.Load() == 0 {
			if empty == nil {
				empty = s
			}
			continue
		}
		used++
		if distance := since(s.state.Load(), idle); oldest == nil || distance < smallest {
			oldest, smallest = s, distance
		}
	}
	return empty, used, oldest
}

// since returns how far a state is from idle. It compares states on both sides
// of the place where those of sliding windows, 63 bits wide, begin again.
func since(state, idle int64) int64 { return (state - idle) << 1 }

// rewrite replaces every state above idle by change(state), and empties all
// other slots. Insertions wait; the caller sees to it that
// nothing is charged meanwhile under the old terms.
func (t *table) rewrite(idle int64, change func(state int64) int64) {
	for i := range t.stripes {
		t.stripes[i].mu.Lock()
	}
	for i := range t.buckets {
		for j := range t.buckets[i] {
			s := &t.buckets[i][j]
			if s.key.Load() == 0 {
				continue
			}
			old := s.state.Load()
			for !s.state.CompareAndSwap(old, inTransition) {
				old = s.state.Load()
			}
			if since(old, idle) > 0 {
				s.state.Store(change(old))
				continue
			}
			s.key.Store(0)
			s.state.Store(0)
			t.stripe(uint64(i)).keys.Add(-1)
		}
	}
	for i := range t.stripes {
		t.stripes[i].mu.Unlock()
	}
}
