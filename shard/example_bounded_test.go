package shard_test

import (
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

func ExampleBounded() {
	ring, err := shard.NewRing([]shard.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	bounded, err := shard.NewBounded(ring, nil)
	if err != nil {
		log.Fatal(err)
	}
	// All want the same. No node has more than 1.25 times the average, rounded up: 13.
	var leases []shard.Lease
	for range 40 {
		leases = append(leases, bounded.Acquire(shard.Hash("popular")))
	}
	stats := bounded.Stats()
	fmt.Println(stats.Nodes, "of", stats.Loads)

	for _, lease := range leases {
		lease.Release()
	}
	fmt.Println(bounded.Stats().Loads, "left")
	// Output:
	// [12 13 2 13] of 40
	// 0 left
}
