package redislimit_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

// A limit of two per hour for each client address, in four processes together. No Redis is
// where this looks for one: it grants a quarter of the limit and, of a burst so small, one.
func Example() {
	store, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, nil)
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()
	limiter, err := redislimit.New(ratelimit.PerHour(2), store, &redislimit.Options{
		Options:  ratelimit.Options{Name: "per-client", Key: key.Direct(nil)},
		Replicas: func() int { return 4 },
	})
	if err != nil {
		panic(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "hello") })
	limited := limiter.Middleware(hello)
	for range 2 {
		w := httptest.NewRecorder()
		limited.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Printf("%d %s Retry-After: %q\n", w.Code, w.Header().Get("RateLimit-Policy"), w.Header().Get("Retry-After"))
	}
	// Output:
	// 200 "per-client";q=1;w=7200 Retry-After: ""
	// 429 "per-client";q=1;w=7200 Retry-After: "7200"
}

// The client is one's own. This one has no Redis behind it: it grants everything, from a
// bucket that owes nothing.
func ExampleNewRunnerStore() {
	store, err := redislimit.NewRunnerStore(redislimit.RunnerFunc(
		func(_ context.Context, keys []string, args ...any) ([]int64, error) {
			fmt.Println(keys, args)
			return []int64{1, 0}, nil
		}), nil)
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()
	limiter, err := redislimit.New(ratelimit.PerSecond(100), store, &redislimit.Options{
		Options: ratelimit.Options{Name: "logins"},
	})
	if err != nil {
		panic(err)
	}
	res, err := limiter.Take(context.Background(), "alice", 1)
	fmt.Println(res.Allowed, res.Remaining, err)
	// Output:
	// [ratelimit:{alice}:logins] [take 80000 8000000]
	// true 99 <nil>
}

// Five per second and a hundred per day, in one call.
func ExampleAll() {
	store, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, nil)
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()
	perSecond, err := redislimit.New(ratelimit.PerSecond(5), store, &redislimit.Options{Options: ratelimit.Options{Name: "second"}})
	if err != nil {
		panic(err)
	}
	perDay, err := redislimit.New(ratelimit.PerDay(100), store, &redislimit.Options{Options: ratelimit.Options{Name: "day"}})
	if err != nil {
		panic(err)
	}
	both, err := redislimit.All(perSecond, perDay)
	if err != nil {
		panic(err)
	}
	res, err := both.Take(context.Background(), "alice", 3)
	fmt.Println(res.Allowed, res.Remaining, err)
	// Output: true 2 <nil>
}
