package ratelimit_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
)

func Example() {
	limiter, err := ratelimit.New(ratelimit.PerMinute(2), &ratelimit.Options{
		Name: "per-client",
		Key:  key.Header("Api-Key"),
	})
	if err != nil {
		log.Fatal(err)
	}
	handler := limiter.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello")
	}))

	for range 3 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Api-Key", "alice")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("RateLimit"))
	}
	// Output:
	// 200 "per-client";r=1;t=30
	// 200 "per-client";r=0;t=60
	// 429 "per-client";r=0;t=30
}
