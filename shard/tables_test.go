package shard

import (
	"fmt"
	"os"
	"testing"

	"github.com/uprung/uprung/internal/splitmix"
)

// kind is a kind of table, for tests that all of them pass.
type kind struct {
	name     string
	weighted bool
	make     func(nodes []Node) (Table, error)
}

var kinds = []kind{
	{"ring", true, func(nodes []Node) (Table, error) { return NewRing(nodes, nil) }},
	{"maglev", true, func(nodes []Node) (Table, error) { return NewMaglev(nodes, nil) }},
	{"rendezvous", true, func(nodes []Node) (Table, error) { return NewRendezvous(nodes) }},
	{"jump", false, func(nodes []Node) (Table, error) { return NewJump(nodes) }},
	{"slots", true, func(nodes []Node) (Table, error) { return NewSlots(nodes, nil) }},
}

func (k kind) mustMake(tb testing.TB, nodes []Node) Table {
	tb.Helper()
	table, err := k.make(nodes)
	if err != nil {
		tb.Fatal(err)
	}
	return table
}

func mustRing(tb testing.TB, nodes []Node, o *RingOptions) *Ring {
	tb.Helper()
	ring, err := NewRing(nodes, o)
	if err != nil {
		tb.Fatal(err)
	}
	return ring
}

// numbered returns n nodes of weight 1: node-0, node-1 and so on.
func numbered(n int) []Node {
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = Node{ID: fmt.Sprintf("node-%d", i)}
	}
	return nodes
}

// testHash is a sequence of hashes without order.
func testHash(i int) uint64 { return splitmix.Mix(uint64(i+1) * splitmix.Phi) }

// owner returns the ID of the node of a hash.
func owner(t Table, hash uint64) string { return t.Nodes()[t.Lookup(hash)].ID }

// order returns the IDs of all nodes in the order of preference for a hash.
func order(t Table, hash uint64) []string {
	var ids []string
	t.Walk(hash, func(node int) bool {
		ids = append(ids, t.Nodes()[node].ID)
		return true
	})
	return ids
}

// fullModels says that model tests run in full.
func fullModels() bool { return os.Getenv("UPRUNG_FULL_MODELS") == "1" }
