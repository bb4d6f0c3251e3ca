// Command breaker calls a server that fails for a while, with and without a breaker, and
// shows how many calls the server got, how many failed at once instead, and how long it
// took until the caller noticed that the server is well again.
//
//	go run ./examples/breaker
//
// The server is in this process, on the loopback interface. To adopt breaker, wrap the
// transport of a client in that of a breaker.Group, which has a breaker for each host,
// and leave its settings alone: here, the open time is a tenth of the default, so that
// the program is done in a second.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/breaker"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	orders := &server{}
	addr, stop, err := orders.start()
	if err != nil {
		return err
	}
	defer stop()

	hosts, err := breaker.NewGroup(&breaker.GroupOptions[string]{
		Breaker: breaker.Options{Name: "orders", OpenFor: 100 * time.Millisecond},
		OnChange: func(_ string, e breaker.Event) {
			_, _ = fmt.Fprintf(out, "  %s -> %s: %s\n", e.From, e.To, e.Reason)
		},
	})
	if err != nil {
		return err
	}
	for _, one := range []struct {
		name   string
		client *http.Client
	}{
		{"without", &http.Client{}},
		{"with", &http.Client{Transport: hosts.Transport(nil)}},
	} {
		if _, err := fmt.Fprintln(out, one.name, "a breaker"); err != nil {
			return err
		}
		got, refused, recovery := outage(one.client, "http://"+addr, orders)
		if _, err := fmt.Fprintf(out, "  the server got %d calls while it failed, %d failed at once; %d ms until it was well again\n",
			got, refused, recovery.Milliseconds()); err != nil {
			return err
		}
	}
	return nil
}

// lasts is how long an outage is.
const lasts = 300 * time.Millisecond

// outage has a client call a server that fails, every millisecond, until it is well
// again and a call succeeds.
func outage(client *http.Client, url string, s *server) (got, refused int64, recovery time.Duration) {
	s.broken.Store(true)
	s.failed.Store(0)
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		over := time.Since(start) - lasts
		s.broken.Store(over < 0)
		resp, err := client.Get(url)
		switch {
		case errors.Is(err, breaker.ErrOpen):
			refused++
		case err == nil:
			_ = resp.Body.Close() // there is nothing in it
			if resp.StatusCode == http.StatusOK {
				return s.failed.Load(), refused, over
			}
		}
	}
}

// server answers 500 while it is broken.
type server struct {
	broken atomic.Bool
	failed atomic.Int64
}

func (s *server) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if s.broken.Load() {
		s.failed.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// start serves on a free port.
func (s *server) start() (addr string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(listener) }()                          // ends with Close
	return listener.Addr().String(), func() { _ = srv.Close() }, nil // the process ends
}
