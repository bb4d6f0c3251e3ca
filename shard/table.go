package shard

import (
	"fmt"
	"math/bits"
	"reflect"

	"github.com/cespare/xxhash/v2"
)

// Table maps hashes of keys to nodes. It is immutable and safe for concurrent use,
// and no method allocates; for Walk this holds where yield itself does not escape.
//
// What a table answers depends on its nodes and its options alone, and, for
// [Slots], on the moves that led to it: the answer is the same in every process,
// on every architecture and after every restart, whatever the order in which the
// nodes were given.
type Table interface {
	// Nodes returns the nodes, at least one, sorted by ID, with every Weight set. The
	// caller does not modify the slice.
	Nodes() []Node
	// Lookup returns the node of a hash, as an index into Nodes.
	Lookup(hash uint64) int
	// Walk calls yield with every node once, as an index into Nodes, in the order of
	// preference for this hash, until yield returns false. The first is Lookup's. The
	// next are where the request goes if those before are down, and, but for zones, where
	// replicas go: [Map.GetN] prefers those in zones that are not yet there.
	Walk(hash uint64, yield func(node int) bool)
}

var (
	_ Table = (*Ring)(nil)
	_ Table = (*Maglev)(nil)
	_ Table = (*Rendezvous)(nil)
	_ Table = (*Jump)(nil)
	_ Table = (*Slots)(nil)
)

// checkTable returns an error if a table has no nodes to ask for, or one of them no
// weight. The subject begins the sentence: "table is".
func checkTable(subject string, t Table) error {
	if t == nil {
		return fmt.Errorf("shard: %s nil, want a table with nodes", subject)
	}
	if v := reflect.ValueOf(t); v.Kind() == reflect.Pointer && v.IsNil() {
		return fmt.Errorf("shard: %s a nil %T, want a table with nodes", subject, t)
	}
	nodes := t.Nodes()
	if len(nodes) == 0 {
		return fmt.Errorf("shard: %s a %T without nodes, want one with nodes", subject, t)
	}
	for _, n := range nodes {
		if n.Weight < 1 {
			return fmt.Errorf("shard: %s a %T with %s of weight %d, want 1 or more", subject, t, n.ID, n.Weight)
		}
	}
	return nil
}

// Hash returns the hash of a key by which tables are asked: xxhash64 with seed 0,
// as published, so that programs in other languages agree. It is not secret: who
// chooses keys can choose the node they go to.
func Hash(key string) uint64 { return xxhash.Sum64String(key) }

// scale maps a hash to 0..n-1 by its high bits, evenly and without a division.
func scale(hash uint64, n int) int {
	high, _ := bits.Mul64(hash, uint64(n))
	return int(high)
}
