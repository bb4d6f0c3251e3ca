package httpcache_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/uprung/uprung/cache/httpcache"
)

// A page that takes long is made once, and again when one of its products has changed.
func Example() {
	made := 0
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		made++
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Surrogate-Key", "products product-17")
		fmt.Fprintf(w, "page %d", made)
	})
	c, err := httpcache.New(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(c.Middleware(page))
	defer server.Close()

	get := func() {
		resp, err := http.Get(server.URL)
		if err != nil {
			log.Fatal(err)
		}
		defer resp.Body.Close()
		var text [6]byte
		_, _ = resp.Body.Read(text[:])
		fmt.Printf("%s, from the cache: %t\n", text, resp.Header.Get("Age") != "")
	}
	get()
	get()
	c.PurgeTag(context.Background(), server.URL, "product-17")
	get()
	// Output:
	// page 1, from the cache: false
	// page 1, from the cache: true
	// page 2, from the cache: false
}

func ExampleNew() {
	_, err := httpcache.New(nil, &httpcache.Options{
		TargetFields: []string{"CDN Cache Control"},
		FetchTimeout: -time.Second,
	})
	fmt.Println(err)
	// Output:
	// httpcache: FetchTimeout is -1s, want >= 0
	// httpcache: TargetFields[0] is "CDN Cache Control", want the name of a field
}

func ExampleNewMemory() {
	store, err := httpcache.NewMemory(&httpcache.MemoryOptions{Budget: 256 << 20})
	if err != nil {
		log.Fatal(err)
	}
	c, err := httpcache.New(store, &httpcache.Options{Name: "edge"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Stats().Entries, "responses are stored")
	// Output: 0 responses are stored
}

// A client whose responses are cached.
func ExampleCache_Transport() {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
	}))
	defer origin.Close()
	c, err := httpcache.New(nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: c.Transport(nil)}
	for range 3 {
		resp, err := client.Get(origin.URL)
		if err != nil {
			log.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	s := c.Stats()
	fmt.Println(s.Misses, "miss,", s.Hits, "hits")
	// Output: 1 miss, 2 hits
}
