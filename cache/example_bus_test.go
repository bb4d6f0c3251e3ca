package cache_test

import (
	"context"
	"fmt"

	"github.com/uprung/uprung/cache"
)

// A bus tells what others have changed under the keys that begin with a prefix.
func ExampleNewLocalBus() {
	bus := cache.NewLocalBus()
	users := bus.Subscribe(cache.Listener{
		Prefix:  "users:",
		Changed: func(keys []string) { fmt.Println("changed:", keys) },
		Lost:    func() { fmt.Println("all is void") },
	})
	defer users.Close()
	other := bus.Subscribe(cache.Listener{Prefix: "orders:", Changed: func([]string) {}, Lost: func() {}})
	defer other.Close()
	if err := other.Publish(context.Background(), []string{"users:17", "orders:4"}); err != nil {
		fmt.Println(err)
	}
	// Output: changed: [users:17]
}

func ExampleJSON() {
	codec := cache.JSON[[]int]()
	data, err := codec.Append(nil, "numbers", []int{1, 2, 3})
	fmt.Println(codec.Name(), string(data), err)
	// Output: json [1,2,3] <nil>
}
