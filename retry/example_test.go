package retry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/uprung/uprung/retry"
)

// A server that fails every other time.
func Example() {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "hello")
	}))
	defer server.Close()

	retrier, err := retry.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: retrier.Transport(http.DefaultTransport)}
	resp, err := client.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.StatusCode, string(body), retrier.Stats().Retries)
	// Output: 200 hello 1
}

func ExampleDo() {
	retrier, err := retry.New(&retry.Options{Name: "users"})
	if err != nil {
		log.Fatal(err)
	}
	calls := 0
	name, err := retry.Do(context.Background(), retrier, func(context.Context) (string, error) {
		if calls++; calls < 3 {
			return "", errors.New("connection reset")
		}
		return "alice", nil
	})
	fmt.Println(name, err, calls)
	// Output: alice <nil> 3
}
