package cache

import "sync/atomic"

// tagPrefix tells tags from keys.
const tagPrefix = "\x00"

// voids remembers when tags were last invalidated, in a table of fixed size: an entry is
// void if one of its tags was invalidated after the entry was asked for. Tags that share a
// slot void one another's entries, which costs loads and keeps nothing alive.
type voids struct {
	hash     func(string) uint64
	sequence atomic.Uint64
	slots    []atomic.Uint64
}

// The table has a slot for each entry, within reason.
const (
	leastSlots = 1 << 10
	mostSlots  = 1 << 20
)

func (v *voids) init(seed uint64, capacity int) {
	size := leastSlots
	for size < min(capacity, mostSlots) {
		size *= 2
	}
	v.hash = hasher[string](seed)
	v.slots = make([]atomic.Uint64, size)
}

// now is the number of the last invalidation.
func (v *voids) now() uint64 { return v.sequence.Load() }

func (v *voids) slot(tag string) uint32 {
	return uint32(v.hash(tag) & uint64(len(v.slots)-1))
}

// invalidate voids all entries with a tag that were asked for before.
func (v *voids) invalidate(tag string) {
	slot := &v.slots[v.slot(tag)]
	number := v.sequence.Add(1)
	for {
		old := slot.Load()
		if old >= number || slot.CompareAndSwap(old, number) {
			return
		}
	}
}

// covers reports whether one of the tags of an entry was invalidated since it was asked
// for.
func (v *voids) covers(m *more) bool {
	for _, tag := range m.tags {
		if v.slots[tag].Load() > m.sequence {
			return true
		}
	}
	return false
}
