// Command lb sends requests to four backends, of which one is slow and one dies, and
// shows where they went: first those of a client, through a transport, and then those
// that come to a reverse proxy.
//
//	go run ./examples/lb
//
// The backends are servers in this process, on the loopback interface. To adopt lb,
// give it the addresses of yours and nothing else: its defaults find out which of them
// are slow or dead, from the requests that they get anyway. The few that find it out
// fail, unless a layer outside of lb tries them again.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/lb"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	var endpoints lb.Static
	var dying *http.Server
	for _, id := range []string{"dying", "quick-1", "quick-2", "slow"} {
		takes := 2 * time.Millisecond
		if id == "slow" {
			takes *= 10
		}
		server, addr, err := start(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(takes)
			_, _ = fmt.Fprintln(w, "hello from", id)
		}))
		if err != nil {
			return err
		}
		defer func() { _ = server.Close() }() // the process ends
		if id == "dying" {
			dying = server
		}
		endpoints = append(endpoints, lb.Endpoint{ID: id, Addr: addr})
	}

	balancer, err := lb.New(endpoints, nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: balancer.Transport(nil)}
	failed := send(client, "http://orders/42", func() { _ = dying.Close() }) // the URL names the service
	text := table("through a transport, while one dies", failed, balancer.Stats())

	// Another balancer, which does not know yet who is slow and who is dead.
	second, err := lb.New(endpoints, nil)
	if err != nil {
		return err
	}
	proxy, err1 := second.Proxy(nil)
	server, addr, err2 := start(proxy)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	defer func() { _ = server.Close() }() // the process ends
	failed = send(&http.Client{}, "http://"+addr+"/42", func() {})
	text += "\n" + table("through a proxy, with one dead", failed, second.Stats())
	_, err = io.WriteString(out, text)
	return err
}

// start serves on a free port.
func start(handler http.Handler) (server *http.Server, addr string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends with Close
	return server, listener.Addr().String(), nil
}

// requests is how many send makes.
const requests = 400

// send makes requests, four at a time, and returns how many failed. It calls halfway
// when half of them have been sent.
func send(client *http.Client, url string, halfway func()) (failed int64) {
	var sent, failures atomic.Int64
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for n := sent.Add(1); n <= requests; n = sent.Add(1) {
				if n == requests/2 {
					halfway()
				}
				resp, err := client.Get(url)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close() // it has been read
				}
				if err != nil || resp.StatusCode != http.StatusOK {
					failures.Add(1)
				}
			}
		})
	}
	senders.Wait()
	return failures.Load()
}

// table shows what a balancer has done.
func table(title string, failed int64, stats lb.Stats) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d requests failed\n%-10s %5s %7s\n", title, failed, requests, "endpoint", "sent", "failed")
	for _, e := range stats.Endpoints {
		fmt.Fprintf(&b, "%-10s %5d %7d\n", e.ID, e.Picked, e.Failures)
	}
	return b.String()
}
