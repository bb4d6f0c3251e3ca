package cachetest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/cachetest"
)

func TestEngineConforms(t *testing.T) {
	t.Parallel()
	engine := cachetest.NewEngine()
	cachetest.TestStore(t, func(*testing.T) cache.Store { return engine.Client() })
}

// A program serves what it loads while its store is down.
func Example() {
	client := cachetest.NewEngine().Client()
	users, err := cache.New(1000, &cache.Options[int, string]{Store: client, Namespace: "users"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()

	client.SetFault(cachetest.Down)
	name, err := users.GetOrLoad(context.Background(), 17, func(context.Context, int) (string, error) {
		return "Ada", nil
	})
	fmt.Println(name, err)
	// Output: Ada <nil>
}
