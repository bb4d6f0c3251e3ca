package ratelimit_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
)

// A server that works on two requests at a time, and tells the others to come back
// before it has done anything for them.
func ExampleNewConcurrency() {
	limit := uprung.Must(ratelimit.NewConcurrency(ratelimit.AtMost(2), &ratelimit.ConcurrencyOptions{Name: "api"}))
	working, finish := make(chan bool), make(chan bool)
	server := httptest.NewServer(limit.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		working <- true
		<-finish
	})))
	defer server.Close()
	ask := func() {
		resp, err := http.Get(server.URL)
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = resp.Body.Close()
		fmt.Printf("%s, Retry-After %q\n", resp.Status, resp.Header.Get("Retry-After"))
	}

	done := make(chan bool)
	for range 2 {
		go func() {
			ask()
			done <- true
		}()
		<-working
	}
	fmt.Println("saturation:", limit.Saturation())
	ask()
	close(finish)
	<-done
	<-done
	// Output:
	// saturation: 1
	// 503 Service Unavailable, Retry-After "1"
	// 200 OK, Retry-After ""
	// 200 OK, Retry-After ""
}

// Anywhere else, a place is acquired and released. The outcome tells an adaptive limit
// what to learn from the time that the work took.
func ExampleConcurrency_Acquire() {
	limit := uprung.Must(ratelimit.NewConcurrency(ratelimit.Adaptive(), nil))
	work := func(ctx context.Context) error {
		token, err := limit.Acquire(ctx, ratelimit.Claim{Tenant: "acme", Priority: ratelimit.Low})
		if err != nil {
			return err
		}
		outcome := uprung.Failure // unless the work returns
		defer func() { token.Release(outcome) }()
		fmt.Println("working beside", limit.Stats().InFlight-1, "others")
		outcome = uprung.Success
		return nil
	}
	fmt.Println(work(context.Background()))
	fmt.Println(limit.Stats().InFlight, "in progress")
	// Output:
	// working beside 0 others
	// <nil>
	// 0 in progress
}
