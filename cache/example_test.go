package cache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/uprung/uprung/cache"
)

// User is what the examples cache.
type User struct {
	Name string
	Team string
}

// table is where users come from.
var table = map[int]User{17: {"Ada", "engines"}, 18: {"Grace", "compilers"}}

// find is a query that takes long.
func find(_ context.Context, id int) (User, error) {
	fmt.Println("loading", id)
	user, ok := table[id]
	if !ok {
		return User{}, cache.ErrNotFound
	}
	return user, nil
}

func Example() {
	ctx := context.Background()
	users, err := cache.New(10_000, &cache.Options[int, User]{
		TTL:          time.Minute,
		RefreshAhead: 1,
		StaleIfError: time.Hour,
		TagsOf:       func(_ int, u User) []string { return []string{u.Team} },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer users.Close()

	for range 2 {
		user, err := users.GetOrLoad(ctx, 17, find)
		fmt.Println(user.Name, err)
	}
	for range 2 {
		_, err = users.GetOrLoad(ctx, 19, find)
		fmt.Println(errors.Is(err, cache.ErrNotFound))
	}
	_ = users.InvalidateTag(ctx, "engines") // cannot fail without a store
	_, ok := users.Get(ctx, 17)
	fmt.Println("17 is there:", ok)
	// Output:
	// loading 17
	// Ada <nil>
	// Ada <nil>
	// loading 19
	// true
	// true
	// 17 is there: false
}

func ExampleNew_bytes() {
	pages, err := cache.New(100_000, &cache.Options[string, []byte]{
		MaxBytes: 64 << 20,
		Weigher:  func(path string, page []byte) int64 { return int64(len(path) + len(page)) },
		Policy:   cache.TinyLFU,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = pages.Set(context.Background(), "/", make([]byte, 1000))
	s := pages.Stats()
	fmt.Println(s.Entries, "entry of", s.Bytes, "bytes")
	// Output: 1 entry of 1001 bytes
}

func ExampleCache_GetOrLoadMany() {
	users, err := cache.New[int, User](10_000, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	found, err := users.GetOrLoadMany(context.Background(), []int{17, 18, 19}, func(_ context.Context, ids []int) (map[int]User, error) {
		fmt.Println("loading", len(ids), "in one query")
		rows := make(map[int]User)
		for _, id := range ids {
			if user, ok := table[id]; ok {
				rows[id] = user
			}
		}
		return rows, nil
	})
	fmt.Println(len(found), found[18].Name, err)
	// Output:
	// loading 3 in one query
	// 2 Grace <nil>
}
