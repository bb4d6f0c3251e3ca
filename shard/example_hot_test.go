package shard_test

import (
	"fmt"
	"log"

	"github.com/uprung/uprung/shard"
)

func ExampleHot() {
	hot, err := shard.NewHot(&shard.HotOptions{Above: 0.05, Nodes: 3})
	if err != nil {
		log.Fatal(err)
	}
	caches, err := shard.NewMap([]shard.Entry[string]{
		{Node: shard.Node{ID: "a"}, Value: "cache a"},
		{Node: shard.Node{ID: "b"}, Value: "cache b"},
		{Node: shard.Node{ID: "c"}, Value: "cache c"},
		{Node: shard.Node{ID: "d"}, Value: "cache d"},
	}, &shard.MapOptions{Hot: hot})
	if err != nil {
		log.Fatal(err)
	}

	asked := make(map[string]int)
	for i := range 20_000 {
		key := fmt.Sprint("product-", i)
		if i%2 == 0 {
			key = "product-of-the-day"
		}
		cache, err := caches.Spread(key)
		if err != nil {
			log.Fatal(err)
		}
		if i%2 == 0 {
			asked[cache]++
		}
	}
	hottest := caches.Stats().Hot.Hottest[0]
	fmt.Println(hottest.Hash == shard.Hash("product-of-the-day"), hottest.Spread)
	fmt.Printf("share %.2f, asked of %d caches\n", hottest.Share, len(asked))
	// Output:
	// true true
	// share 0.50, asked of 3 caches
}
