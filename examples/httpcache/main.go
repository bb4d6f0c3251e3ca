// Command httpcache caches the pages of a handler, and ends them when what they show has
// changed:
//
//	go run ./examples/httpcache
//	curl -i http://127.0.0.1:8080/products/17   # twice: the second is from the cache
//	curl -X PUT http://127.0.0.1:8080/products/17
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/uprung/uprung/cache/httpcache"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	handler, err := newShop()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // ListenAndServe says so
	if err := server.ListenAndServe(); ctx.Err() == nil {
		log.Fatal(err)
	}
}

// newShop returns a shop whose pages are cached.
func newShop() (http.Handler, error) {
	cache, err := httpcache.New(nil, &httpcache.Options{Name: "shop"})
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	versions := map[string]int{}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /products/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		mu.Lock()
		version := versions[id]
		mu.Unlock()
		w.Header().Set("Cache-Control", "public, max-age=60, stale-while-revalidate=30, stale-if-error=3600")
		w.Header().Set("Cache-Groups", fmt.Sprintf(`"product-%s"`, id))
		_, _ = fmt.Fprintf(w, "product %s, version %d\n", id, version)
	})
	mux.HandleFunc("GET /products", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Cache-Groups", `"product-17"`) // of all that it shows
		_, _ = fmt.Fprintf(w, "product 17, version %d\n", versions["17"])
	})
	// What is stored for the target of a successful PUT is ended by RFC 9111, and the list
	// by its group (RFC 9875).
	mux.HandleFunc("PUT /products/{id}", func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		mu.Lock()
		versions[id]++
		mu.Unlock()
		w.Header().Set("Cache-Group-Invalidation", fmt.Sprintf(`"product-%s"`, id))
		w.WriteHeader(http.StatusNoContent)
	})
	return cache.Middleware(mux), nil
}
