package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
)

func ExampleNew() {
	_, err := ratelimit.New(ratelimit.PerSecond(-1), &ratelimit.Options{Capacity: -5})
	fmt.Println(err)
	// Output:
	// ratelimit: Limit.Events is -1, want >= 0
	// ratelimit: Capacity is -5, want 0 to 67108864
}

func ExampleLimiter_TakeAt() {
	limiter := uprung.Must(ratelimit.New(ratelimit.PerSecond(10).WithBurst(2), nil))
	now := time.Now()
	for range 3 {
		res, _ := limiter.TakeAt(now, "alice", 1)
		fmt.Println(res.Allowed, res.Remaining, res.RetryAfter)
	}
	// Output:
	// true 1 0s
	// true 0 0s
	// false 0 100ms
}

func ExampleLimiter_Take() {
	limiter := uprung.Must(ratelimit.New(ratelimit.PerHour(100), nil))
	_, err := limiter.Take(context.Background(), "alice", 101)
	fmt.Println(errors.Is(err, ratelimit.ErrExceedsBurst))
	// Output: true
}

func ExampleLimiter_TakeUpTo() {
	limiter := uprung.Must(ratelimit.New(ratelimit.PerHour(100), nil))
	res, _ := limiter.TakeUpTo(context.Background(), "batch", 250)
	fmt.Println(res.Granted, "of 250 now")
	// Output: 100 of 250 now
}

func ExampleLimiter_Wait() {
	limiter := uprung.Must(ratelimit.New(ratelimit.PerMinute(1), nil))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println(limiter.Wait(ctx, "alice", 1))
	err := limiter.Wait(ctx, "alice", 1) // a minute is more than ctx has left
	rejection, _ := errors.AsType[*uprung.Rejection](err)
	fmt.Println(errors.Is(err, ratelimit.ErrLimited), rejection.RetryAfter.Round(time.Second))
	// Output:
	// <nil>
	// true 1m0s
}

func ExampleOptions_limitFor() {
	plans := map[string]ratelimit.Limit{
		"alice": ratelimit.PerSecond(1000),
		"cron":  ratelimit.Unlimited(),
	}
	limiter := uprung.Must(ratelimit.New(ratelimit.PerSecond(10), &ratelimit.Options{
		LimitFor: func(key string) (ratelimit.Limit, bool) {
			limit, ok := plans[key]
			return limit, ok
		},
	}))
	for _, tenant := range []string{"alice", "bob"} {
		res, _ := limiter.Peek(tenant)
		fmt.Println(tenant, res.Limit)
	}
	// Output:
	// alice 1000
	// bob 10
}

func ExampleLimiter_SetLimit() {
	limiter := uprung.Must(ratelimit.New(ratelimit.PerHour(100), nil))
	limiter.AllowN("alice", 70)
	_ = limiter.SetLimit(ratelimit.PerHour(200))
	res, _ := limiter.Peek("alice")
	fmt.Println(res.Remaining, "of", res.Limit)
	// Output: 130 of 200
}

func ExampleFromRate() {
	limit, err := ratelimit.FromRate(rate.Every(250*time.Millisecond), 8)
	fmt.Println(limit, err)
	// Output: 4 per 1s, burst 8 <nil>
}

func ExampleAll() {
	perSecond := uprung.Must(ratelimit.New(ratelimit.PerSecond(5), &ratelimit.Options{Name: "per-second"}))
	perDay := uprung.Must(ratelimit.New(ratelimit.PerDay(7), &ratelimit.Options{Name: "per-day"}))
	limits := uprung.Must(ratelimit.All(perSecond, perDay))

	fmt.Println(limits.AllowN("alice", 5), limits.AllowN("alice", 5)) // the second would be too many for both
	res, _ := perDay.Peek("alice")
	fmt.Println(res.Remaining, "left today")
	// Output:
	// true false
	// 2 left today
}
