// Command lb is base with a client that is balanced over endpoints.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/uprung/uprung/lb"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	go func() { _ = http.Serve(ln, handler) }()
	balancer, err := lb.New(lb.Addrs(ln.Addr().String()), nil)
	if err != nil {
		panic(err)
	}
	client := &http.Client{Transport: balancer.Transport(nil)}
	resp, err := client.Get("http://hello/")
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
