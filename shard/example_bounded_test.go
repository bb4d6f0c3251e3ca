package shard_test

import (
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

func ExampleBounded() {
	caches, err := shard.NewMap([]shard.Entry[string]{
		{Node: shard.Node{ID: "a"}, Value: "10.0.0.1:11211"},
		{Node: shard.Node{ID: "b"}, Value: "10.0.0.2:11211"},
		{Node: shard.Node{ID: "c"}, Value: "10.0.0.3:11211"},
		{Node: shard.Node{ID: "d"}, Value: "10.0.0.4:11211"},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	bounded, err := shard.NewBounded(caches.Table(), nil)
	if err != nil {
		log.Fatal(err)
	}
	// The bound says which node, and the map what is reached there.
	lease := bounded.Acquire(shard.Hash("rare"))
	if cache, ok := caches.Node(lease.Node().ID); ok {
		fmt.Println("ask", cache.Value)
	}
	lease.Release()

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
	// ask 10.0.0.1:11211
	// [12 13 2 13] of 40
	// 0 left
}
