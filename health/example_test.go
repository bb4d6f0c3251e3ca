package health_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung/health"
)

// search is a dependency that is down, and without which the program works.
func search(context.Context) error { return errors.New("connection refused") }

func Example() {
	registry, err := health.NewRegistry([]health.Check{
		{Name: "database", Probe: func(context.Context) error { return nil }}, // db.PingContext
		{Name: "search", Probe: search, Informative: true},
	}, &health.RegistryOptions{DrainWait: 10 * time.Millisecond})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/livez", registry.Live())
	mux.Handle("/readyz", registry.Ready())
	server := &http.Server{Handler: mux}

	ask := func(path string) {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Printf("%s %d\n%s", path, w.Code, w.Body)
	}
	ask("/readyz")

	// When the program is told to end:
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	if err := registry.Drain(ctx, server.Shutdown); err != nil {
		log.Fatal(err)
	}
	ask("/readyz")
	ask("/livez")
	// Output:
	// /readyz 200
	// ok
	// warn: search
	// /readyz 503
	// draining
	// /livez 200
	// ok
}
