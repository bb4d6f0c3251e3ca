// Command ratelimit is base with one limiter in front of its handler.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/uprung/uprung/ratelimit"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	limiter, err := ratelimit.New(ratelimit.PerSecond(100), nil)
	if err != nil {
		panic(err)
	}
	go func() { _ = http.Serve(ln, limiter.Middleware(handler)) }()
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
