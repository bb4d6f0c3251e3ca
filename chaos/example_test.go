package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/chaos"
	"github.com/uprung/uprung/key"
)

// A service is called, and one of its shards is down for some time.
func Example() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
	defer service.Close()

	tenant := func(r *http.Request) (string, bool) { return r.URL.Query().Get("tenant"), true }
	injector, err := chaos.New([]chaos.Fault{{
		Name:  "shard-down",
		Key:   chaos.HTTPKey(tenant),
		Share: 0.25, // of the tenants, and always the same
		Reset: true,
	}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: injector.Transport(service.Client().Transport)}
	reach := func() (reached int) {
		for id := range 100 {
			resp, err := client.Get(fmt.Sprintf("%s/?tenant=%d", service.URL, id))
			if errors.Is(err, chaos.ErrInjected) {
				continue
			}
			if err != nil {
				log.Fatal(err)
			}
			_ = resp.Body.Close()
			reached++
		}
		return reached
	}

	fmt.Println("before:", reach(), "of 100 tenants are served")
	if err := injector.Arm(time.Minute); err != nil {
		log.Fatal(err)
	}
	during := reach()
	fmt.Println("during: a part of them only:", during > 60 && during < 90)
	injector.Disarm()
	fmt.Println("after:", reach(), "of 100 tenants are served")
	// Output:
	// before: 100 of 100 tenants are served
	// during: a part of them only: true
	// after: 100 of 100 tenants are served
}

func ExampleNew() {
	_, err := chaos.New([]chaos.Fault{
		{Name: "slow", Delay: chaos.Exponential(200*time.Millisecond, 5*time.Second), Share: 10},
		{Name: "broken", Status: 200},
	}, nil)
	fmt.Println(err)
	// Output:
	// chaos: faults[0].Share is 10, want 0 for all, or more and at most 1
	// chaos: faults[1].Status is 200, want 0 for none, or 400 to 599
}

// A handler that is to be tested from the outside, by testers who say so.
func ExampleInjector_Middleware() {
	injector := uprung.Must(chaos.New([]chaos.Fault{
		{Name: "unavailable", Status: http.StatusServiceUnavailable, RetryAfter: 3 * time.Second, Requested: true},
	}, &chaos.Options{
		Trust: func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer of-the-testers" },
	}))
	if err := injector.Arm(time.Hour); err != nil {
		log.Fatal(err)
	}
	handler := injector.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))

	for _, authorization := range []string{"", "Bearer of-the-testers"} {
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header.Set("Authorization", authorization)
		r.Header.Set(chaos.RequestField, "unavailable")
		handler.ServeHTTP(w, r)
		fmt.Printf("%d %q %q\n", w.Code, w.Header().Get("Retry-After"), w.Header().Get(chaos.MarkField))
	}
	// Output:
	// 200 "" ""
	// 503 "3" "unavailable"
}

// A game day in two steps. The injector is disarmed at its end, whatever happens.
func ExampleInjector_Run() {
	injector := uprung.Must(chaos.New(nil, nil))
	err := injector.Run(context.Background(), chaos.Scenario{
		{Name: "slow network", For: 2 * time.Millisecond, Faults: []chaos.Fault{{Name: "slow", Delay: chaos.Uniform(0, time.Second)}}},
		{Name: "region down", For: 2 * time.Millisecond, Faults: []chaos.Fault{{Name: "down", Reset: true}}},
	})
	_, armed := injector.Armed()
	fmt.Println(err, armed)
	// Output: <nil> false
}

// The key of a request decides who meets a fault.
func ExampleHTTPKey() {
	of := chaos.HTTPKey(key.Header("Tenant"))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Tenant", "acme")
	fmt.Println(of(chaos.Call{Request: r}))
	fmt.Println(of(chaos.Call{Method: "/orders.Orders/Get"}))
	// Output:
	// acme true
	//  false
}

// Delays as those of a bad day: most are short, one in a hundred is ten times as long.
func ExamplePareto() {
	d := chaos.Pareto(20*time.Millisecond, 10*time.Second, 2)
	fmt.Println(d(0), d(0.75), d(0.99).Round(time.Millisecond))
	// Output: 20ms 40ms 200ms
}
