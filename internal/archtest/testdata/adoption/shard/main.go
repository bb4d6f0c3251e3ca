// Command shard is base with its handler behind a map of shards.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/uprung/uprung/shard"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	upstreams, err := shard.NewMap([]shard.Entry[http.Handler]{{Node: shard.Node{ID: "a"}, Value: handler}}, nil)
	if err != nil {
		panic(err)
	}
	byPath := func(r *http.Request) (string, bool) { return r.URL.Path, true }
	routed, err := shard.NewHandler(upstreams, byPath, nil)
	if err != nil {
		panic(err)
	}
	go func() { _ = http.Serve(ln, routed) }()
	resp, err := http.Get("http://" + ln.Addr().String())
	if err != nil {
		panic(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode, string(body))
}
