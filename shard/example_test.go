package shard_test

import (
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

// store is what a node is reached by: a *sql.DB, a client, a base URL.
type store struct{ address string }

func Example() {
	stores, err := shard.NewMap([]shard.Entry[*store]{
		{Node: shard.Node{ID: "db-0", Zone: "eu-1"}, Value: &store{"10.0.0.10:5432"}},
		{Node: shard.Node{ID: "db-1", Zone: "eu-2"}, Value: &store{"10.0.0.11:5432"}},
		{Node: shard.Node{ID: "db-2", Zone: "eu-2"}, Value: &store{"10.0.0.12:5432"}},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		home, err := stores.Get(user)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(user, "is at", home.address)
	}

	// A node more: what moves is known beforehand.
	larger := append(stores.Entries(), shard.Entry[*store]{
		Node: shard.Node{ID: "db-3", Zone: "eu-1"}, Value: &store{"10.0.0.13:5432"},
	})
	difference, err := stores.Preview(larger)
	if err != nil {
		log.Fatal(err)
	}
	for _, flow := range difference.Flows {
		fmt.Printf("%s -> %s: %.0f%%\n", flow.From, flow.To, 100*flow.Share)
	}
	if err := stores.Set(larger); err != nil {
		log.Fatal(err)
	}
	// Output:
	// alice is at 10.0.0.11:5432
	// bob is at 10.0.0.10:5432
	// carol is at 10.0.0.10:5432
	// db-1 -> db-3: 10%
	// db-0 -> db-3: 8%
	// db-2 -> db-3: 7%
}
