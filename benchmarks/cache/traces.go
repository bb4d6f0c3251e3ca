package cache

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the traces
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
)

//go:embed testdata/web12.trace.gz
var web12 []byte

//go:embed testdata/orm-busy-500k.trace.gz
var ormBusy []byte

// trace is requests by key.
type trace struct {
	name string
	make func(seed uint64) ([]uint32, error)
}

// traces are all that hit ratios are measured on.
func traces() []trace {
	recorded := func(data []byte) func(uint64) ([]uint32, error) {
		return func(uint64) ([]uint32, error) { return decode(data) }
	}
	return []trace{
		{"web12", recorded(web12)},
		{"orm-busy", recorded(ormBusy)},
		{"zipf-0.9", func(seed uint64) ([]uint32, error) { return zipfTrace(seed, 0.9), nil }},
		{"zipf-1.01", func(seed uint64) ([]uint32, error) { return zipfTrace(seed, 1.01), nil }},
		{"loop-mix", func(seed uint64) ([]uint32, error) { return loopMix(seed), nil }},
		{"scan-mix", func(seed uint64) ([]uint32, error) { return scanMix(seed), nil }},
	}
}

// decode reads a recorded trace.
func decode(data []byte) ([]uint32, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if len(raw)%4 != 0 {
		return nil, fmt.Errorf("a trace has %d bytes, which is no number of requests", len(raw))
	}
	keys := make([]uint32, len(raw)/4)
	for i := range keys {
		keys[i] = binary.BigEndian.Uint32(raw[4*i:])
	}
	return keys, nil
}

const (
	madeRequests = 500_000
	madeKeys     = 100_000
)

// zipf draws from 0 to n-1 with a weight of 1/(i+1)^s, also for s <= 1, which that of
// math/rand does not.
type zipf struct {
	cumulated []float64
	random    *rand.Rand
}

func newZipf(random *rand.Rand, s float64, n int) *zipf {
	z := &zipf{make([]float64, n), random}
	sum := 0.0
	for i := range z.cumulated {
		sum += math.Pow(float64(i+1), -s)
		z.cumulated[i] = sum
	}
	return z
}

func (z *zipf) draw() uint32 {
	i, _ := slices.BinarySearch(z.cumulated, z.random.Float64()*z.cumulated[len(z.cumulated)-1])
	return uint32(min(i, len(z.cumulated)-1))
}

func zipfTrace(seed uint64, s float64) []uint32 {
	z := newZipf(rand.New(rand.NewPCG(seed, 1)), s, madeKeys)
	keys := make([]uint32, madeRequests)
	for i := range keys {
		keys[i] = z.draw()
	}
	return keys
}

// loopMix is half zipf over some keys, and half a loop over others, again and again in
// the same order.
func loopMix(seed uint64) []uint32 {
	const loop = 10_000
	random := rand.New(rand.NewPCG(seed, 2))
	z := newZipf(random, 0.9, madeKeys/5)
	keys := make([]uint32, madeRequests)
	at := uint32(0)
	for i := range keys {
		if random.IntN(2) == 0 {
			keys[i] = z.draw()
		} else {
			keys[i] = madeKeys + at
			at = (at + 1) % loop
		}
	}
	return keys
}

// scanMix is zipf, with scans now and then, of keys that nobody asks for before or after.
func scanMix(seed uint64) []uint32 {
	const every, scan = 25_000, 10_000
	z := newZipf(rand.New(rand.NewPCG(seed, 3)), 0.9, madeKeys/5)
	keys := make([]uint32, madeRequests)
	next := uint32(madeKeys)
	for i := range keys {
		if i%every < scan {
			keys[i] = next
			next++
		} else {
			keys[i] = z.draw()
		}
	}
	return keys
}

// distinct counts the keys of a trace.
func distinct(keys []uint32) int {
	seen := make(map[uint32]struct{})
	for _, key := range keys {
		seen[key] = struct{}{}
	}
	return len(seen)
}
