package client_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/client"
	"github.com/uprung/uprung/lb"
)

// Three servers, one of which fails: nobody who asks sees it.
func Example() {
	var addrs []string
	for at := range 3 {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if at == 1 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		}))
		defer server.Close()
		addrs = append(addrs, strings.TrimPrefix(server.URL, "http://"))
	}

	transport, err := client.NewTransport(lb.Addrs(addrs...), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	orders := &http.Client{Transport: transport}

	failed := 0
	for range 200 {
		resp, err := orders.Get("http://orders/42")
		if err != nil {
			log.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			failed++
		}
	}
	fmt.Println(failed, "of 200 requests failed")
	fmt.Println("some were repeated:", transport.Stats().Retry.Retries > 0)
	// Output:
	// 0 of 200 requests failed
	// some were repeated: true
}

func ExampleNewTransport() {
	transport, err := client.NewTransport(lb.Addrs("10.0.0.1:8080", "10.0.0.2:8080"), &client.Options{
		Name:           "orders",
		Deadline:       3 * time.Second,
		AttemptTimeout: time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, layer := range uprung.VetTransport(transport).Layers {
		fmt.Println(layer)
	}
	// Output:
	// client "orders"
	// deadline "orders"
	// retry "orders"
	// balance "orders"
	// breaker "orders"
	// throttle "orders"
	// concurrency "orders"
}
