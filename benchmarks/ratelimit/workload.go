package ratelimit

import (
	"fmt"
	"math/rand/v2"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// keySet is a set of keys "user:0000000", "user:0000001", ..., one after the
// other. Keys are slices of it: looking one up costs no memory access of its own,
// and a limiter that keeps keys keeps what is there anyway.
type keySet string

const keyLen = len("user:0000000")

func newKeySet(n int) keySet {
	buf := make([]byte, 0, n*keyLen)
	for i := range n {
		buf = fmt.Appendf(buf, "user:%07d", i)
	}
	return keySet(buf)
}

func (k keySet) at(i uint32) string {
	from := int(i) * keyLen
	return string(k[from : from+keyLen])
}

// workload keeps what several cases share.
type workload struct {
	largest keySet
}

// keys returns the first n keys. It is not safe for concurrent use.
func (w *workload) keys(n int) keySet {
	if len(w.largest) < n*keyLen {
		w.largest = newKeySet(n)
	}
	return w.largest[:n*keyLen]
}

// ring is an endless sequence of key indexes, drawn before any measurement. Its
// length is a power of two.
type ring []uint32

// ringSize is ample for a million keys: a round of slow peers does not come
// round.
const ringSize = 1 << 20

// uniform draws from all keys alike.
func uniform(e *bench.Env, keys int) ring {
	random := rand.New(rand.NewPCG(e.Seed, 1))
	return draw(keys, func() uint32 { return random.Uint32N(uint32(keys)) })
}

// zipfExponent makes the most frequent of a million keys 7 % of the events.
const zipfExponent = 1.01

// zipf draws key number k in a random order with a probability proportional to
// 1/(k+1)^zipfExponent.
func zipf(e *bench.Env, keys int) ring {
	random := rand.New(rand.NewPCG(e.Seed, 2))
	order := random.Perm(keys)
	ranks := rand.NewZipf(random, zipfExponent, 1, uint64(keys-1))
	return draw(keys, func() uint32 { return uint32(order[ranks.Uint64()]) })
}

func draw(keys int, next func() uint32) ring {
	if keys == 1 {
		return ring{0}
	}
	r := make(ring, ringSize)
	for i := range r {
		r[i] = next()
	}
	return r
}

// ahead is how many keys are read before they are asked about.
const ahead = 32

// loop asks a limiter about the keys of a ring in the workers of a round, each
// from a part of the ring of its own, and expects the same answer every time.
//
// The keys are read shortly before: a server that asks about a key has just
// received it, and has it in its cache. Otherwise half of the time of a decision
// would be that of fetching the key from memory, whoever decides.
func (r ring) loop(round *bench.Round, keys keySet, l limiter, want bool) (bench.Figures, error) {
	mask, apart := len(r)-1, len(r)/round.Procs
	return round.Loop(func(worker, from, n int) (met int) {
		from += worker * apart
		for end := from + n; from < end; {
			batch := min(ahead, end-from)
			received := byte(0)
			for i := from; i < from+batch; i++ {
				key := keys.at(r[i&mask])
				received |= key[0] | key[len(key)-1]
			}
			if received == 0 {
				return 0 // no key is of zeros: the keys have been read
			}
			for i := from; i < from+batch; i++ {
				if l.allow(keys.at(r[i&mask])) == want {
					met++
				}
			}
			from += batch
		}
		return met
	})
}
