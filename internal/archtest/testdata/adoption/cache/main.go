// Command cache is base with its greeting from a cache.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/uprung/uprung/cache"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	greetings, err := cache.New[string, string](100, nil)
	if err != nil {
		panic(err)
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		greeting, err := greetings.GetOrLoad(r.Context(), r.URL.Path, func(context.Context, string) (string, error) {
			return "hello", nil
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, greeting)
	})
	go func() { _ = http.Serve(ln, handler) }()
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
