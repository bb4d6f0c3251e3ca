package shard

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// keyLen is the length of every key.
const keyLen = 16

// newKeys returns n random keys of hexadecimal digits.
func newKeys(e *bench.Env, n int) []string {
	random := rand.New(rand.NewPCG(e.Seed, 1))
	buf := make([]byte, 0, n*keyLen)
	for range n {
		buf = fmt.Appendf(buf, "%0*x", keyLen, random.Uint64())
	}
	text := string(buf)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = text[i*keyLen : (i+1)*keyLen]
	}
	return keys
}

// newNames returns the names of n nodes, which are those of fewer nodes and more.
func newNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = nodeName(i)
	}
	return names
}

func nodeName(i int) string { return "node-" + strconv.Itoa(i) }

// sized returns a number of nodes, of which there are at least two in a test also.
func sized(e *bench.Env, nodes int) int { return max(2, e.Size(nodes)) }
