// Command redis is a server of which several run at a time and count together: each
// client address may make 10 requests per second of all of them, and each API key 1000
// per day and 20 per second.
//
//	redis-server &
//	go run ./examples/redis -addr 127.0.0.1:8080 &
//	go run ./examples/redis -addr 127.0.0.1:8081 &
//	curl -i -H 'X-API-Key: alice' http://localhost:8080/api/hello
//	curl -i -H 'X-API-Key: alice' http://localhost:8081/api/hello
//
// It starts without Redis too, and goes on when Redis goes away: then each of the servers
// grants half of the limits, -replicas being 2. What it does is told in its log, and by
// GET /limits.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`address` to serve at")
	redis := flag.String("redis", "127.0.0.1:6379", "`address` of Redis or Valkey")
	replicas := flag.Int("replicas", 2, "`number` of servers that share the limits")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, *addr, *redis, *replicas); err != nil {
		log.Print(err)
	}
}

// serve serves until ctx ends.
func serve(ctx context.Context, addr, redis string, replicas int) error {
	store, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{redis}}, &redislimit.StoreOptions{
		Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	handler, err := newHandler(store, replicas)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newHandler returns the whole server: its limits and what they protect.
func newHandler(store *redislimit.Store, replicas int) (http.Handler, error) {
	among := func() int { return replicas } // or how many a discovery finds
	perAddress, err1 := redislimit.New(ratelimit.PerSecond(10), store, &redislimit.Options{
		Options:  ratelimit.Options{Name: "per-address", Key: key.Direct(nil)},
		Replicas: among,
	})
	apiKey := key.Header("X-API-Key") // a request without one is answered 400
	perDay, err2 := redislimit.New(ratelimit.PerDay(1000), store, &redislimit.Options{
		Options:  ratelimit.Options{Name: "per-day", Key: apiKey},
		Replicas: among,
	})
	perSecond, err3 := redislimit.New(ratelimit.PerSecond(20), store, &redislimit.Options{
		Options:  ratelimit.Options{Name: "per-second", Key: apiKey},
		Replicas: among,
	})
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	perKey, err := redislimit.All(perDay, perSecond) // one call for both
	if err != nil {
		return nil, err
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "hello") })
	mux := http.NewServeMux()
	mux.Handle("/", hello)
	mux.Handle("/api/", perKey.Middleware(hello))
	mux.HandleFunc("/limits", func(w http.ResponseWriter, _ *http.Request) {
		for _, l := range []*redislimit.Limiter{perAddress, perDay, perSecond} {
			_, _ = fmt.Fprintf(w, "%s: %+v\n", l.Layer().Name, l.Stats())
		}
	})
	return perAddress.Middleware(mux), nil
}
