package breaker

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// buckets is the number of parts of a window. One of them is always incomplete, so
// that what is looked at is between nine and ten tenths of the window.
const buckets = 10

// The layout of a bucket: 24 bits of the number of its period, 20 bits of bad results
// and 20 of good ones.
const (
	countBits = 20
	countMax  = 1<<countBits - 1
	badOne    = 1 << countBits
	epochAt   = 2 * countBits
	epochMask = 1<<(64-epochAt) - 1

	// full are the highest bits of both counts. When one of them is set, both counts are
	// halved, which keeps their ratio: a count that carried over into the next would turn
	// a million successes into one failure and no success.
	full = 1<<(2*countBits-1) | 1<<(countBits-1)
)

// window counts results over the last ten periods, and all results ever. What is
// counted in the current period takes one atomic addition; the first of a period
// takes the mutex.
//
// It is safe for concurrent use.
type window struct {
	bucket [buckets]atomic.Uint64

	mu        sync.Mutex
	good, bad uint64 // results that are in no bucket any more; guarded by mu
}

// period turns instants into numbers of periods.
type period struct{ reciprocal uint64 }

// newPeriod returns the period of a window.
func newPeriod(whole time.Duration) period {
	return period{^uint64(0)/uint64(whole/buckets) + 1}
}

// of returns the number of the period of an instant. It multiplies by the reciprocal,
// as a division takes longer than all the rest; periods are too short by up to one part
// in 10^9, and never go back.
func (p period) of(now int64) uint64 {
	hi, _ := bits.Mul64(uint64(now), p.reciprocal)
	return hi
}

// counts takes a bucket apart.
func counts(v uint64) (good, bad uint64) { return v & countMax, v >> countBits & countMax }

// one is a result as add takes it.
func one(bad bool) uint64 {
	if bad {
		return badOne
	}
	return 1
}

// add counts a result in a period.
func (w *window) add(epoch, one uint64) {
	b := &w.bucket[epoch%buckets]
	begun := b.Load()>>epochAt == epoch&epochMask
	if !begun || b.Add(one)&full != 0 {
		w.addSlow(b, epoch, one, begun)
	}
}

// addSlow is what add does once in a period, and in a bucket that is nearly full.
func (w *window) addSlow(b *atomic.Uint64, epoch, one uint64, added bool) {
	if !added {
		w.recycle(b, epoch)
		if b.Add(one)&full == 0 {
			return
		}
	}
	w.halve(b)
}

// maxAhead is more periods than one can be behind another who counts. It is small, as a
// bucket of long ago looks like one that is ahead.
const maxAhead = 1 << 10

// recycle empties a bucket for a new period, unless somebody else has, or is ahead.
func (w *window) recycle(b *atomic.Uint64, epoch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := b.Load()
	if ahead := (v>>epochAt - epoch) & epochMask; ahead < maxAhead {
		return
	}
	w.retire(b.Swap(epoch << epochAt))
}

// retire remembers what was in a bucket, while mu is held.
func (w *window) retire(v uint64) {
	good, bad := counts(v)
	w.good += good
	w.bad += bad
}

// halve halves the counts of a bucket that is nearly full.
func (w *window) halve(b *atomic.Uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		v := b.Load()
		if v&full == 0 {
			return
		}
		good, bad := counts(v)
		if b.CompareAndSwap(v, v>>epochAt<<epochAt|bad/2<<countBits|good/2) {
			w.good += good - good/2
			w.bad += bad - bad/2
			return
		}
	}
}

// sum returns the results of the last ten periods, the current one included.
func (w *window) sum(epoch uint64) (good, bad uint64) {
	for i := range uint64(buckets) {
		if i > epoch {
			break
		}
		if v := w.bucket[(epoch-i)%buckets].Load(); v>>epochAt == (epoch-i)&epochMask {
			g, f := counts(v)
			good += g
			bad += f
		}
	}
	return good, bad
}

// age returns how many periods ago the last result came, or the window was begun.
func (w *window) age(epoch uint64) uint64 {
	youngest := uint64(epochMask)
	for i := range w.bucket {
		if age := (epoch - w.bucket[i].Load()>>epochAt) & epochMask; age < youngest {
			youngest = age
		}
	}
	return youngest
}

// begin marks a period as that of the last result.
func (w *window) begin(epoch uint64) { w.recycle(&w.bucket[epoch%buckets], epoch) }

// clear forgets the results of all periods, but not that there were any.
func (w *window) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.bucket {
		b := &w.bucket[i]
		for {
			v := b.Load()
			if b.CompareAndSwap(v, v>>epochAt<<epochAt) {
				w.retire(v)
				break
			}
		}
	}
}

// totals returns all results ever. They never decrease.
func (w *window) totals() (good, bad uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	good, bad = w.good, w.bad
	for i := range w.bucket {
		g, f := counts(w.bucket[i].Load())
		good += g
		bad += f
	}
	return good, bad
}

// count adds to the totals alone.
func (w *window) count(failed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if failed {
		w.bad++
	} else {
		w.good++
	}
}
