package shard_test

import (
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

func ExampleMap() {
	// The value may be a *sql.DB, a client, anything; here it is an address.
	shards, err := shard.NewMap([]shard.Entry[string]{
		{Node: shard.Node{ID: "db-1", Zone: "a"}, Value: "10.0.0.1:5432"},
		{Node: shard.Node{ID: "db-2", Zone: "b"}, Value: "10.0.0.2:5432"},
		{Node: shard.Node{ID: "db-3", Zone: "a"}, Value: "10.0.0.3:5432"},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	address, err := shards.Get("alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("alice is at", address)

	replicas, err := shards.GetN(nil, "alice", 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, replica := range replicas {
		fmt.Println(replica.Node.ID, "in zone", replica.Node.Zone)
	}
	// Output:
	// alice is at 10.0.0.1:5432
	// db-1 in zone a
	// db-2 in zone b
}

func ExampleMap_Preview() {
	entries := []shard.Entry[string]{{Node: shard.Node{ID: "db-1"}}, {Node: shard.Node{ID: "db-2"}}, {Node: shard.Node{ID: "db-3"}}}
	shards, err := shard.NewMap(entries, nil)
	if err != nil {
		log.Fatal(err)
	}
	entries = append(entries, shard.Entry[string]{Node: shard.Node{ID: "db-4"}})
	change, err := shards.Preview(entries)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.0f%% of the keys would move, by weight it is %.0f%%\n", 100*change.Moved, 100*change.Ideal)
	for _, flow := range change.Flows {
		fmt.Printf("%s -> %s %.0f%%\n", flow.From, flow.To, 100*flow.Share)
	}
	if err := shards.Set(entries); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 24% of the keys would move, by weight it is 25%
	// db-1 -> db-4 11%
	// db-3 -> db-4 9%
	// db-2 -> db-4 5%
}
