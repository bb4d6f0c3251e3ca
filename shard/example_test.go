package shard_test

import (
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

// client is what a node is reached by: a connection pool, a handler, a base URL.
type client struct{ address string }

func Example() {
	caches, err := shard.NewMap([]shard.Entry[*client]{
		{Node: shard.Node{ID: "cache-0", Zone: "eu-1"}, Value: &client{"10.0.0.10:11211"}},
		{Node: shard.Node{ID: "cache-1", Zone: "eu-2"}, Value: &client{"10.0.0.11:11211"}},
		{Node: shard.Node{ID: "cache-2", Zone: "eu-2"}, Value: &client{"10.0.0.12:11211"}},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		home, err := caches.Get(user)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(user, "is at", home.address)
	}

	// A node more: what moves is known beforehand.
	larger := append(caches.Entries(), shard.Entry[*client]{
		Node: shard.Node{ID: "cache-3", Zone: "eu-1"}, Value: &client{"10.0.0.13:11211"},
	})
	difference, err := caches.Preview(larger)
	if err != nil {
		log.Fatal(err)
	}
	for _, flow := range difference.Flows {
		fmt.Printf("%s -> %s: %.0f%%\n", flow.From, flow.To, 100*flow.Share)
	}
	if err := caches.Set(larger); err != nil {
		log.Fatal(err)
	}
	// Output:
	// alice is at 10.0.0.10:11211
	// bob is at 10.0.0.11:11211
	// carol is at 10.0.0.10:11211
	// cache-2 -> cache-3: 8%
	// cache-0 -> cache-3: 8%
	// cache-1 -> cache-3: 6%
}
