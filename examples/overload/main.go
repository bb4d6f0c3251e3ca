// Command overload serves a page that can be made 40 times a second, to tenants that
// want more than that: what does not fit is refused at once, no tenant takes the part
// of another, and batches give way to people.
//
//	go run ./examples/overload
//	curl -i -H 'Tenant: acme' localhost:8080/
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
)

func main() {
	addr := flag.String("addr", "localhost:8080", "`address` to serve at")
	flag.Parse()
	handler, err := newHandler()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The server makes four pages at a time, each in a tenth of a second.
const (
	workers = 4
	work    = 100 * time.Millisecond
)

// newHandler returns the page behind its limit, and the signal for scaling out.
func newHandler() (http.Handler, error) {
	limit, err := ratelimit.NewConcurrency(ratelimit.Adaptive(), &ratelimit.ConcurrencyOptions{
		Name:   "pages",
		Tenant: key.Header("Tenant"), // of a real server: who has been authenticated
		Priority: func(r *http.Request) ratelimit.Priority {
			if r.URL.Path == "/batch" {
				return ratelimit.Background
			}
			return ratelimit.Normal
		},
	})
	if err != nil {
		return nil, err
	}
	scale, err := health.NewScale([]health.ScaleSource{{Name: "pages", Saturator: limit}}, nil)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/scale", scale)
	mux.Handle("/", limit.Middleware(page()))
	return mux, nil
}

// page is the work: a few at a time, in the order of arrival.
func page() http.Handler {
	busy := make(chan struct{}, workers)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case busy <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		time.Sleep(work)
		<-busy
		_, _ = w.Write([]byte("a page\n")) // fails only if the client has left
	})
}
