package deadline_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung/deadline"
)

// A handler that waits for something that never comes.
func Example() {
	limit, err := deadline.New(20*time.Millisecond, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(limit.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	})))
	defer server.Close()

	resp, err := http.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.Header.Get("Content-Type"))
	// Output: 504 application/problem+json
}
