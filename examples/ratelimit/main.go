// Command ratelimit is a server with two limits. Whoever asks, each client address
// may make 10 requests per second: a flood is stopped before anything is looked
// up. Below /api, each API key may make 100 requests per minute, wherever its
// requests come from.
//
//	go run ./examples/ratelimit
//	curl -i -H 'X-API-Key: alice' http://localhost:8080/api/hello
//
// To adopt a limit, wrap a handler in its Middleware. Start with Mode:
// uprung.Shadow, which counts what would be refused and refuses nothing; behind a
// proxy, take the client's address from another constructor of package key. A
// response tells where the client stands in RateLimit, one that is refused has the
// status 429 and says in Retry-After when to come back.
package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
)

func main() {
	handler, err := newHandler()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// newHandler returns the whole server: both limits and what they protect.
func newHandler() (http.Handler, error) {
	perAddress, err1 := ratelimit.New(ratelimit.PerSecond(10), &ratelimit.Options{
		Name: "per-address",
		Key:  key.Direct(nil),
	})
	perKey, err2 := ratelimit.New(ratelimit.PerMinute(100).WithBurst(5), &ratelimit.Options{
		Name: "per-key",
		Key:  key.Header("X-API-Key"), // a request without one is answered 400
	})
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "hello") })
	mux := http.NewServeMux()
	mux.Handle("/", hello)
	mux.Handle("/api/", perKey.Middleware(hello))
	return perAddress.Middleware(mux), nil
}
