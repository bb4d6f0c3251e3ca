// Command client calls a service of four servers through the recommended stack, while one
// of them dies and another hangs, and shows what its callers see of that: nothing.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/client"
	"github.com/uprung/uprung/lb"
)

func main() {
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(out io.Writer) error {
	var hung atomic.Bool
	var addrs []string
	var servers []*httptest.Server
	for at := range 4 {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if at == 3 && hung.Load() {
				<-r.Context().Done()
			}
		}))
		defer server.Close()
		servers = append(servers, server)
		addrs = append(addrs, strings.TrimPrefix(server.URL, "http://"))
	}

	transport, err := client.NewTransport(lb.Addrs(addrs...), &client.Options{
		Name:           "orders",
		Deadline:       3 * time.Second,
		AttemptTimeout: 200 * time.Millisecond, // what a server takes at the very most
	})
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	if _, err := fmt.Fprintln(out, uprung.ExplainTransport(transport)); err != nil {
		return err
	}
	orders := &http.Client{Transport: transport}

	var failed atomic.Int64
	var wg sync.WaitGroup
	for at := range 300 {
		switch at {
		case 100:
			servers[2].CloseClientConnections()
			go servers[2].Close()
		case 200:
			hung.Store(true)
		}
		wg.Go(func() {
			resp, err := orders.Get("http://orders/42")
			if err != nil {
				failed.Add(1)
				return
			}
			_ = resp.Body.Close()
		})
		time.Sleep(2 * time.Millisecond)
	}
	wg.Wait()
	s := transport.Stats()
	_, err = fmt.Fprintf(out, "300 requests, %d failed; repeated %d, moved on %d, hedged %d\n", failed.Load(), s.Retry.Retries, s.Retry.Moves, s.Retry.Hedges)
	return err
}
