package shard_test

import (
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

func ExampleNewRing() {
	ring, err := shard.NewRing([]shard.Node{
		{ID: "cache-a", Zone: "eu-1"},
		{ID: "cache-b", Zone: "eu-2"},
		{ID: "cache-c", Zone: "eu-1", Weight: 2},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	larger, err := ring.Add(shard.Node{ID: "cache-d"})
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range []string{"user:1", "user:2", "user:3", "user:4", "user:5", "user:6"} {
		hash := shard.Hash(key)
		fmt.Println(key, ring.Nodes()[ring.Lookup(hash)].ID, larger.Nodes()[larger.Lookup(hash)].ID)
	}
	// Output:
	// user:1 cache-c cache-c
	// user:2 cache-a cache-a
	// user:3 cache-c cache-c
	// user:4 cache-b cache-b
	// user:5 cache-c cache-d
	// user:6 cache-c cache-c
}

func ExampleRing_Walk() {
	ring, err := shard.NewRing([]shard.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}, {ID: "d"}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	down := "a"
	ring.Walk(shard.Hash("user:1"), func(node int) bool {
		id := ring.Nodes()[node].ID
		fmt.Println("try", id)
		return id == down
	})
	// Output:
	// try a
	// try b
}

func ExampleNewMaglev() {
	maglev, err := shard.NewMaglev([]shard.Node{{ID: "a"}, {ID: "b"}, {ID: "c", Weight: 2}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	counts := make([]int, 3)
	for i := range 100_000 {
		counts[maglev.Lookup(shard.Hash(fmt.Sprint("user:", i)))]++
	}
	for i, n := range maglev.Nodes() {
		fmt.Printf("%s %.0f%%\n", n.ID, float64(counts[i])/1000)
	}
	// Output:
	// a 25%
	// b 25%
	// c 50%
}

func ExampleNewRendezvous() {
	table, err := shard.NewRendezvous([]shard.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(table.Nodes()[table.Lookup(shard.Hash("user:1"))].ID)
	// Output:
	// a
}

func ExampleNewJump() {
	table, err := shard.NewJump([]shard.Node{{ID: "shard-8"}, {ID: "shard-9"}, {ID: "shard-10"}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(table.Nodes()[table.Lookup(shard.Hash("user:1"))].ID)
	_, err = table.Add(shard.Node{ID: "shard-1"})
	fmt.Println(err)
	// Output:
	// shard-10
	// shard: node.ID is "shard-1", want one that comes after "shard-10": a Jump grows at its end
}

func ExampleNewSlots() {
	slots, err := shard.NewSlots([]shard.Node{{ID: "db-0"}, {ID: "db-1"}}, &shard.SlotsOptions{Slots: 8})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(slots.Owners())

	larger, moves, err := slots.Rebalance([]shard.Node{{ID: "db-0"}, {ID: "db-1"}, {ID: "db-2"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range moves {
		fmt.Printf("slot %d: %s -> %s\n", m.Slot, m.From, m.To)
	}

	stored := larger.Owners() // and the next process goes on from there
	again, err := shard.NewSlots(larger.Nodes(), &shard.SlotsOptions{Owners: stored})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.Owners())
	// Output:
	// [db-0 db-0 db-1 db-0 db-1 db-1 db-1 db-0]
	// slot 0: db-0 -> db-2
	// slot 5: db-1 -> db-2
	// [db-2 db-0 db-1 db-0 db-1 db-2 db-1 db-0]
}
