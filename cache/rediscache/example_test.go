package rediscache_test

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/rediscache"
)

type user struct{ Name string }

// A program starts, and serves what it loads, while Redis is down.
func Example() {
	store, err := rediscache.New(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	users, err := cache.New(10_000, &cache.Options[string, user]{
		Store:     store,
		Namespace: "users",
		TTL:       time.Hour,
		Codec:     rediscache.S2(cache.JSON[user]()),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()

	u, err := users.GetOrLoad(context.Background(), "17", func(context.Context, string) (user, error) {
		return user{Name: "Ada"}, nil // from a database
	})
	fmt.Println(u.Name, err)
	// Output: Ada <nil>
}

// What is in the server takes less room, and is of no use to whoever reads it there.
func ExampleS2() {
	secret := make([]byte, 32) // from where the program has its secrets
	codec, err := cache.Encrypt(rediscache.S2(cache.JSON[user]()), cache.Key{ID: "2026-11", Secret: secret})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(codec.Name())
	// Output: json+s2+aesgcm
}
