// Command chaos rehearses an outage: a client calls two servers, one of which is slow, then
// fails, then resets connections, by a scenario; once with nothing, and once with the
// recommended stack of package client. It needs nothing but itself.
package main

import (
	"context"
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

	"github.com/uprung/uprung/chaos"
	"github.com/uprung/uprung/client"
	"github.com/uprung/uprung/lb"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// day is what befalls one of the two servers.
var day = chaos.Scenario{
	{Name: "all is well", For: 200 * time.Millisecond},
	{Name: "slow", For: 400 * time.Millisecond, Faults: []chaos.Fault{{Name: "slow", Delay: chaos.Fixed(300 * time.Millisecond)}}},
	{Name: "fails", For: 400 * time.Millisecond, Faults: []chaos.Fault{{Name: "fails", Status: 500, Share: 0.5}}},
	{Name: "down", For: 400 * time.Millisecond, Faults: []chaos.Fault{{Name: "down", Reset: true}}},
	{Name: "all is well again", For: 200 * time.Millisecond},
}

func run(ctx context.Context, out io.Writer) error {
	injector, err := chaos.New(nil, &chaos.Options{Seed: 1})
	if err != nil {
		return err
	}
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	healthy, stricken := httptest.NewServer(ok), httptest.NewServer(injector.Middleware(ok))
	defer healthy.Close()
	defer stricken.Close()
	addrs := []string{strings.TrimPrefix(healthy.URL, "http://"), strings.TrimPrefix(stricken.URL, "http://")}

	// With nothing: one server after the other.
	var next atomic.Uint64
	plain := roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Host = addrs[next.Add(1)%2]
		return http.DefaultTransport.RoundTrip(r)
	})
	stack, err := client.NewTransport(lb.Addrs(addrs...), &client.Options{Deadline: time.Second, AttemptTimeout: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	defer stack.CloseIdleConnections()

	for _, one := range []struct {
		name      string
		transport http.RoundTripper
	}{{"with nothing", plain}, {"with client.NewTransport", stack}} {
		sent, failed, err := rehearse(ctx, injector, &http.Client{Transport: one.transport, Timeout: time.Second})
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s: %d of %d requests failed\n", one.name, failed, sent); err != nil {
			return err
		}
	}
	for _, f := range injector.Stats().Faults {
		if _, err := fmt.Fprintf(out, "fault %s: injected %d times\n", f.Name, f.Injected); err != nil {
			return err
		}
	}
	return nil
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// rehearse sends requests as long as the scenario takes.
func rehearse(ctx context.Context, injector *chaos.Injector, c *http.Client) (sent int, failed int64, err error) {
	ended := make(chan error, 1)
	go func() { ended <- injector.Run(ctx, day) }()
	var wg sync.WaitGroup
	var bad atomic.Int64
	for {
		select {
		case err := <-ended:
			wg.Wait()
			return sent, bad.Load(), err
		case <-time.After(5 * time.Millisecond):
		}
		sent++
		wg.Go(func() {
			resp, err := c.Get("http://service/")
			if err != nil {
				bad.Add(1)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				bad.Add(1)
			}
		})
	}
}
