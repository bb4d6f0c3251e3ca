// Command breaker is base with a breaker on both sides.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/uprung/uprung/breaker"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	guard, err := breaker.New(nil)
	if err != nil {
		panic(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	go func() { _ = http.Serve(ln, guard.Middleware(handler)) }()
	client := &http.Client{Transport: guard.Transport(nil)}
	resp, err := client.Get("http://" + ln.Addr().String())
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
