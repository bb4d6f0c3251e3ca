package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/cache/httpcache"
	"github.com/uprung/uprung/internal/ladder"
)

// A page takes 40 ms, of which the origin can do five at a time: 125 per second. More
// than twice as many are asked for.
const (
	edgeWorkers = 5
	edgeService = 40 * time.Millisecond
	edgeQueue   = 10_000 // nobody is refused: who is not served in time has failed
	edgeOffered = 300
	edgePages   = 10

	// What the origin says of each page: it is new for a second, and better old than none.
	edgeControl = "max-age=1, stale-while-revalidate=10, stale-if-error=60"

	// When the origin is killed, and is back, in parts of the time.
	edgeDown, edgeUp = 0.5, 0.95
)

// edge is the rung of package cache/httpcache, whose cache is before an origin that is
// slow, and then dead for a while.
//
// Without the cache all wait for the origin, and then nobody gets anything. With it the
// origin makes each page once a second, while others have the last one, and nobody
// notices its death.
//
// It promises that p99 falls to a tenth, that the origin gets a tenth of the requests at
// most, and that all are served, but for the one of a hundred that a starved machine may
// lose.
func edge() *ladder.Rung {
	return &ladder.Rung{
		Name: "edge",
		Story: "more than twice as many ask for ten slow pages as their origin can serve, and then it is killed for a while; package " +
			"cache/httpcache has it make each once a second, and serves what it has while nobody is there.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: edgeOffered, Keys: edgePages, Judged: true}},
		Settle:   400 * time.Millisecond,
		Window:   1100 * time.Millisecond,
		Patience: 500 * time.Millisecond,
		Handler:  newEdge,
		Promises: []ladder.Promise{
			{
				Metric: "p99_ms", Title: "p99", Better: ladder.Lower, Format: "%.1f ms",
				Of:     func(r *ladder.Record) float64 { return r.Latency(99).Seconds() * 1000 },
				Factor: 0.1,
			},
			{
				Metric: originShare, Title: "share that the origin gets", Better: ladder.Lower, Format: "%.3f",
				Of:     func(r *ladder.Record) float64 { return r.Figures[originShare] },
				Factor: 0.1,
			},
			{
				Metric: "goodput_ratio", Title: "share of the requests served", Better: ladder.Higher, Format: "%.3f",
				Of:    (*ladder.Record).Goodput,
				After: 0.99,
			},
		},
	}
}

// edged is a proxy before one origin, and counts what it sends there.
type edged struct {
	*ladder.Cluster
	proxy       *httputil.ReverseProxy
	asked, sent atomic.Int64
}

// counted counts requests, whether anybody is there or not.
type counted struct {
	http.RoundTripper
	n *atomic.Int64
}

// RoundTrip counts one.
func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.RoundTripper.RoundTrip(r)
}

// Unwrap returns what sends them.
func (c *counted) Unwrap() http.RoundTripper { return c.RoundTripper }

func newEdge(with bool) (http.Handler, error) {
	origin, err := ladder.NewOrigin(edgeWorkers, edgeService, edgeQueue)
	if err != nil {
		return nil, err
	}
	h := &edged{}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", edgeControl)
		origin.ServeHTTP(w, r)
	})
	if h.Cluster, err = ladder.NewCluster(ladder.Node{Handler: page, Down: edgeDown, Up: edgeUp}); err != nil {
		return nil, err
	}
	var transport http.RoundTripper = &counted{&http.Transport{DialContext: h.DialContext, MaxIdleConnsPerHost: 256}, &h.sent}
	if with {
		cache, err := httpcache.New(nil, &httpcache.Options{Name: "edge"})
		if err != nil {
			return nil, err
		}
		transport = cache.Transport(transport)
	}
	target := &url.URL{Scheme: "http", Host: h.Addrs()[0]}
	h.proxy = &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:    transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	return h, nil
}

// Unwrap returns the proxy.
func (e *edged) Unwrap() http.Handler { return e.proxy }

// ServeHTTP passes a request on.
func (e *edged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.asked.Add(1)
	e.proxy.ServeHTTP(w, r)
}

// Figures returns which share of the requests the origin has got.
func (e *edged) Figures() map[string]float64 {
	return map[string]float64{originShare: float64(e.sent.Load()) / float64(max(e.asked.Load(), 1))}
}
