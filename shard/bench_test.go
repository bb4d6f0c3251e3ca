package shard

import (
	"fmt"
	"testing"

	"github.com/uprung/uprung/internal/splitmix"
)

func BenchmarkLookup(b *testing.B) {
	keys := make([]string, 1<<12)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%012d", i)
	}
	for _, kind := range kinds {
		for _, n := range []int{10, 100, 1000, 10000} {
			b.Run(fmt.Sprintf("table=%s/nodes=%d", kind.name, n), func(b *testing.B) {
				table := kind.mustMake(b, numbered(n))
				b.ReportAllocs()
				sum, i := 0, 0
				for b.Loop() {
					sum += table.Lookup(Hash(keys[i&(len(keys)-1)]))
					i++
				}
				_ = sum
			})
		}
	}
}

func BenchmarkWalk3(b *testing.B) {
	for _, kind := range kinds {
		b.Run("table="+kind.name, func(b *testing.B) {
			table := kind.mustMake(b, numbered(100))
			b.ReportAllocs()
			hash := uint64(0)
			for b.Loop() {
				hash += splitmix.Phi
				left := 3
				table.Walk(hash, func(int) bool { left--; return left > 0 })
			}
		})
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, kind := range kinds {
		b.Run("table="+kind.name+"/nodes=1000", func(b *testing.B) {
			nodes := numbered(1000)
			b.ReportAllocs()
			for b.Loop() {
				kind.mustMake(b, nodes)
			}
		})
	}
}

func BenchmarkRingAdd(b *testing.B) {
	ring := mustRing(b, numbered(1000), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.Add(Node{ID: "node-500a"}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRingRemove(b *testing.B) {
	ring := mustRing(b, numbered(1000), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ring.Remove("node-500"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSlotsRebalance(b *testing.B) {
	slots, err := NewSlots(numbered(1000), nil)
	if err != nil {
		b.Fatal(err)
	}
	nodes := numbered(1001)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := slots.Rebalance(nodes); err != nil {
			b.Fatal(err)
		}
	}
}
