package lb_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/uprung/uprung/lb"
)

// Two servers behind one client. One of them always fails: after five times it is
// left alone.
func Example() {
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "hello")
	}))
	defer good.Close()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer bad.Close()

	balancer, err := lb.New(lb.Addrs(
		strings.TrimPrefix(good.URL, "http://"),
		strings.TrimPrefix(bad.URL, "http://"),
	), nil)
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: balancer.Transport(nil)}

	failures := 0
	for range 1000 {
		resp, err := client.Get("http://greeter/")
		if err != nil {
			log.Fatal(err)
		}
		if resp.StatusCode != http.StatusOK {
			failures++
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	fmt.Println("at most 5 of 1000 requests failed:", failures <= 5)
	// Output: at most 5 of 1000 requests failed: true
}
