package shard_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/shard"
)

func ExampleHandler() {
	// In a real program, each upstream is a reverse proxy or a store of its own.
	upstream := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s from %s", r.Header.Get("Tenant"), name)
		})
	}
	upstreams, err := shard.NewMap([]shard.Entry[http.Handler]{
		{Node: shard.Node{ID: "shard-1"}, Value: upstream("shard-1")},
		{Node: shard.Node{ID: "shard-2"}, Value: upstream("shard-2")},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := shard.NewHandler(upstreams, key.Header("Tenant"), nil)
	if err != nil {
		log.Fatal(err)
	}

	for _, tenant := range []string{"acme", "globex", "initech", ""} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Tenant", tenant)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			fmt.Println(w.Code)
			continue
		}
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 acme from shard-1
	// 200 globex from shard-2
	// 200 initech from shard-2
	// 400
}
