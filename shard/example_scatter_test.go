package shard_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

func ExampleScatter() {
	shards, err := shard.NewMap([]shard.Entry[int]{
		{Node: shard.Node{ID: "db-1"}, Value: 300},
		{Node: shard.Node{ID: "db-2"}, Value: -1},
		{Node: shard.Node{ID: "db-3"}, Value: 500},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	count := func(_ context.Context, e shard.Entry[int]) (int, error) {
		if e.Value < 0 {
			return 0, errors.New("connection refused")
		}
		return e.Value, nil
	}
	answers, err := shard.Scatter(context.Background(), shards.Entries(),
		&shard.ScatterOptions{Partial: shard.CollectAll}, count)
	sum, known := 0, 0
	for _, a := range answers {
		if a.Err == nil {
			sum, known = sum+a.Value, known+1
		}
	}
	fmt.Printf("%d rows in %d of %d shards\n", sum, known, len(answers))
	fmt.Println(err)
	// Output:
	// 800 rows in 2 of 3 shards
	// shard: node "db-2": connection refused
}
