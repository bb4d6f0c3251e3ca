// Command health is base with a registry beside its handler, and a monitor of itself.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/uprung/uprung/health"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	registry, err := health.NewRegistry([]health.Check{{Name: "a", Probe: func(context.Context) error { return nil }}}, nil)
	if err != nil {
		panic(err)
	}
	handler := http.NewServeMux()
	handler.Handle("/readyz", registry.Ready())
	handler.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(ln) }()
	prober, err := health.NewHTTP(&health.HTTPOptions{Path: "/readyz"})
	if err != nil {
		panic(err)
	}
	changed := make(chan health.Change, 1)
	monitor, err := health.NewMonitor(prober, &health.MonitorOptions{Jitter: -1, OnChange: func(c health.Change) { changed <- c }})
	if err != nil {
		panic(err)
	}
	if err := monitor.SetTargets([]health.Target{{ID: "a", Addr: ln.Addr().String()}}); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _ = monitor.Run(ctx) }()
	if c := <-changed; c.To != health.Healthy {
		panic(c.Err)
	}
	cancel()
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
