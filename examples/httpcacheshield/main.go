// Command httpcacheshield runs four caches before one origin, and lets each page be
// fetched by one of them for all: its shield, which a shard table names.
//
//	go run ./examples/httpcacheshield
//
// Every node is the same: a cache, and below it a transport that sends what is missing to
// the node that a page belongs to, or to the origin if that is the node itself. So the
// origin makes each page once, however many nodes there are, and when its node is dead
// the others fetch it themselves.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/cache/httpcache"
	"github.com/uprung/uprung/shard"
)

func main() {
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

const (
	nodes = 4
	pages = 25
)

func run(out io.Writer) error {
	var made atomic.Int64
	origin, err := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made.Add(1)
		w.Header().Set("Cache-Control", "public, max-age=60")
		_, _ = fmt.Fprintln(w, "page", r.URL.Path)
	}))
	if err != nil {
		return err
	}
	defer func() { _ = origin.Close() }() // the process ends

	// The addresses come first, since each node knows all.
	var fleet []*http.Server
	var listeners []net.Listener
	var entries []shard.Entry[string]
	for at := range nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer func() { _ = l.Close() }() // the server may have closed it
		listeners = append(listeners, l)
		entries = append(entries, shard.Entry[string]{Node: shard.Node{ID: fmt.Sprint("node-", at)}, Value: l.Addr().String()})
	}
	shields, err := shard.NewMap(entries, nil)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		handler, err := newNode(l.Addr().String(), origin.Addr, shields)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		defer func() { _ = server.Close() }()
		fleet = append(fleet, server)
		go func() { _ = server.Serve(l) }() // ends with Close
	}

	ask := func(round string, of []net.Listener) error {
		before := made.Load()
		for page := range pages {
			for _, l := range of {
				if err := get(l.Addr().String(), fmt.Sprintf("/%s/%d", round, page)); err != nil {
					return err
				}
			}
		}
		_, err := fmt.Fprintf(out, "%s: %d requests for %d pages, the origin has made %d\n", round, pages*len(of), pages, made.Load()-before)
		return err
	}
	if err := ask("all nodes", listeners); err != nil {
		return err
	}
	_ = fleet[0].Close()
	return ask("the first is dead", listeners[1:])
}

// newNode returns the handler of one node.
func newNode(self, origin string, shields *shard.Map[string]) (http.Handler, error) {
	cache, err := httpcache.New(nil, &httpcache.Options{Name: self})
	if err != nil {
		return nil, err
	}
	target := &url.URL{Scheme: "http", Host: origin}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		Transport: cache.Transport(&shielded{self: self, shields: shields, base: &http.Transport{}}),
	}, nil
}

// shielded sends a request by way of the node that its page belongs to.
type shielded struct {
	self    string
	shields *shard.Map[string]
	base    http.RoundTripper
}

// RoundTrip asks that node, and the origin if there is none but this.
func (s *shielded) RoundTrip(r *http.Request) (*http.Response, error) {
	shield, err := s.shields.Get(r.URL.RequestURI())
	if err != nil || shield == s.self || r.Method != http.MethodGet {
		return s.base.RoundTrip(r)
	}
	by := r.Clone(r.Context())
	by.URL.Host = shield
	if resp, err := s.base.RoundTrip(by); err == nil && resp.StatusCode < http.StatusInternalServerError {
		return resp, nil
	} else if err == nil {
		_ = resp.Body.Close() // the origin itself is asked
	}
	return s.base.RoundTrip(r)
}

// get asks a node for a page, as if it were the site.
func get(addr, page string) error {
	r, err := http.NewRequest(http.MethodGet, (&url.URL{Scheme: "http", Host: addr, Path: page}).String(), nil)
	if err != nil {
		return err
	}
	r.Host = "site.example"
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && string(text) != "page "+page+"\n" {
		err = fmt.Errorf("%s: %d %q", page, resp.StatusCode, text)
	}
	return err
}

// serve starts a server on the loopback interface.
func serve(h http.Handler) (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Addr: l.Addr().String(), Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // ends with Close
	return server, nil
}
