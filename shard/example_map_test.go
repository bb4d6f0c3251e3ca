package shard_test

import (
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

func ExampleMap() {
	// The value may be a client, a handler, anything; here it is an address.
	caches, err := shard.NewMap([]shard.Entry[string]{
		{Node: shard.Node{ID: "cache-1", Zone: "a"}, Value: "10.0.0.1:11211"},
		{Node: shard.Node{ID: "cache-2", Zone: "b"}, Value: "10.0.0.2:11211"},
		{Node: shard.Node{ID: "cache-3", Zone: "a"}, Value: "10.0.0.3:11211"},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	address, err := caches.Get("alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("alice is at", address)

	replicas, err := caches.GetN(nil, "alice", 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, replica := range replicas {
		fmt.Println(replica.Node.ID, "in zone", replica.Node.Zone)
	}
	// Output:
	// alice is at 10.0.0.3:11211
	// cache-3 in zone a
	// cache-2 in zone b
}

func ExampleMap_Preview() {
	entries := []shard.Entry[string]{{Node: shard.Node{ID: "cache-1"}}, {Node: shard.Node{ID: "cache-2"}}, {Node: shard.Node{ID: "cache-3"}}}
	caches, err := shard.NewMap(entries, nil)
	if err != nil {
		log.Fatal(err)
	}
	entries = append(entries, shard.Entry[string]{Node: shard.Node{ID: "cache-4"}})
	change, err := caches.Preview(entries)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.0f%% of the keys would move, by weight it is %.0f%%\n", 100*change.Moved, 100*change.Ideal)
	for _, flow := range change.Flows {
		fmt.Printf("%s -> %s %.0f%%\n", flow.From, flow.To, 100*flow.Share)
	}
	if err := caches.Set(entries); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 25% of the keys would move, by weight it is 25%
	// cache-1 -> cache-4 9%
	// cache-2 -> cache-4 8%
	// cache-3 -> cache-4 8%
}

// A table of Slots is derived from the one before, and over a restart from what was
// stored.
func ExampleMapOptions() {
	var stored []string // the owners of all slots, in a file or a database; none at first
	options := &shard.MapOptions{
		Table: func(nodes []shard.Node, previous shard.Table) (shard.Table, error) {
			if slots, ok := previous.(*shard.Slots); ok {
				next, _, err := slots.Rebalance(nodes)
				return next, err
			}
			return shard.NewSlots(nodes, &shard.SlotsOptions{Slots: 8, Owners: stored})
		},
	}
	entries := []shard.Entry[string]{{Node: shard.Node{ID: "db-1"}}, {Node: shard.Node{ID: "db-2"}}}
	stores, err := shard.NewMap(entries, options)
	if err != nil {
		log.Fatal(err)
	}
	stored = stores.Table().(*shard.Slots).Owners()
	fmt.Println(stored)

	// One more. What Set will do is known, and stored, before it does it. If there were
	// data, a Mover would take them to next first.
	entries = append(entries, shard.Entry[string]{Node: shard.Node{ID: "db-3"}})
	next, moves, err := stores.Table().(*shard.Slots).Rebalance([]shard.Node{{ID: "db-1"}, {ID: "db-2"}, {ID: "db-3"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(moves)
	stored = next.Owners()
	if err := stores.Set(entries); err != nil {
		log.Fatal(err)
	}

	// The next process goes on from there.
	stores, err = shard.NewMap(entries, options)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stores.Table().(*shard.Slots).Owners())
	// Output:
	// [db-2 db-2 db-1 db-1 db-2 db-1 db-2 db-1]
	// [{0 db-2 db-3} {3 db-1 db-3}]
	// [db-3 db-2 db-1 db-3 db-2 db-1 db-2 db-1]
}
