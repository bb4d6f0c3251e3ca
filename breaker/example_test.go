package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/uprung/uprung/breaker"
)

// A client of a server that fails asks it twenty times, and then no more.
func Example() {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer server.Close()

	hosts, err := breaker.NewGroup[string](nil)
	if err != nil {
		stdlog.Fatal(err)
	}
	client := &http.Client{Transport: hosts.Transport(nil)}
	refused := 0
	for range 100 {
		resp, err := client.Get(server.URL)
		if errors.Is(err, breaker.ErrOpen) {
			refused++
			continue
		}
		if err != nil {
			stdlog.Fatal(err)
		}
		resp.Body.Close()
	}
	fmt.Println(asked, "asked,", refused, "refused")
	// Output: 20 asked, 80 refused
}

func ExampleNew() {
	_, err := breaker.New(&breaker.Options{MinRequests: -1, FailureRatio: 50})
	fmt.Println(err)
	// Output:
	// breaker: MinRequests is -1, want 1 to 100000
	// breaker: FailureRatio is 50, want more than 0 and at most 1
}

func ExampleDo() {
	orders, err := breaker.New(&breaker.Options{Name: "orders", Consecutive: 2})
	if err != nil {
		stdlog.Fatal(err)
	}
	for range 3 {
		_, err = breaker.Do(context.Background(), orders, func(context.Context) (string, error) {
			return "", errors.New("connection refused")
		})
		fmt.Println(errors.Is(err, breaker.ErrOpen))
	}
	fmt.Println(orders.State())
	// Output:
	// false
	// false
	// true
	// open
}

func ExampleDoOr() {
	prices, err := breaker.New(&breaker.Options{Name: "prices"})
	if err != nil {
		stdlog.Fatal(err)
	}
	prices.Force(breaker.ForceOpen)
	price, err := breaker.DoOr(context.Background(), prices,
		func(context.Context) (string, error) { return "9.99", nil },
		func(_ context.Context, err error) (string, error) { return "9.49, as of yesterday", nil })
	fmt.Println(price, err)
	// Output: 9.49, as of yesterday <nil>
}

// Handlers of a mux, of which one fails.
func ExampleGroup_Middleware() {
	routes, err := breaker.NewGroup(&breaker.GroupOptions[string]{
		OnChange: func(route string, e breaker.Event) { fmt.Println(route, "is", e.To) },
	})
	if err != nil {
		stdlog.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /good", routes.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "hello")
	})))
	mux.Handle("GET /bad", routes.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	})))
	var last *httptest.ResponseRecorder
	for _, path := range append([]string{"/good"}, strings.Fields(strings.Repeat("/bad ", 21))...) {
		last = httptest.NewRecorder()
		mux.ServeHTTP(last, httptest.NewRequest("GET", path, nil))
	}
	fmt.Println(last.Code, "Retry-After:", last.Header().Get("Retry-After"))
	// Output:
	// GET /bad is open
	// 503 Retry-After: 1
}

// What a balancer does with a breaker for each of its endpoints.
func ExampleNewGroup() {
	endpoints, err := breaker.NewGroup[string](nil)
	if err != nil {
		stdlog.Fatal(err)
	}
	endpoints.Breaker("10.0.0.1:80").Force(breaker.ForceOpen)
	for _, id := range []string{"10.0.0.1:80", "10.0.0.2:80"} {
		fmt.Println(id, endpoints.Eligible(id))
	}
	// Output:
	// 10.0.0.1:80 false
	// 10.0.0.2:80 true
}

// A server that takes only every tenth request is soon asked for little more.
func ExampleNewThrottle() {
	throttle, err := breaker.NewThrottle(&breaker.ThrottleOptions{Seed: 1})
	if err != nil {
		stdlog.Fatal(err)
	}
	asked := 0
	client := &http.Client{Transport: throttle.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		status := http.StatusTooManyRequests
		if asked++; asked%10 == 0 {
			status = http.StatusOK
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
	}))}
	refused := 0
	for range 1000 {
		resp, err := client.Get("http://orders/")
		if errors.Is(err, breaker.ErrThrottled) {
			refused++
			continue
		}
		resp.Body.Close()
	}
	fmt.Println(asked < 300, asked+refused)
	// Output: true 1000
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
