package main

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/lb/pick"
	"github.com/uprung/uprung/retry"
)

// Five servers, each of which would serve 100 requests per second, at seven tenths of
// what they can.
const (
	retryServers = 5
	retryWorkers = 2
	retryService = 20 * time.Millisecond
	retryQueue   = 10_000 // nobody is refused: who is not served in time has failed

	retryOffered = retryServers * retryWorkers * int(time.Second/retryService) * 7 / 10

	// Without the technique, an attempt without an answer is given up after this time.
	// Its server does the work nevertheless.
	retryTimeout = 150 * time.Millisecond

	amplification = "amplification"
)

// retryDown is when servers are killed and when they are back, in parts of the time:
// one after the other, and for a tenth of it only two are left.
var retryDown = [][2]float64{{0.2, 0.4}, {0.25, 0.45}, {0.3, 0.5}, {0.6, 0.7}}

// retried is the rung of package retry. Servers are killed in turn while they are
// loaded, and those that are left fall behind. In both halves a request is tried up to
// three times, at one server after the other.
//
// Without the technique, an attempt that takes long is given up and made again at
// once. Every request becomes three, which is more than all five can serve, and so it
// remains when they are back. With retry as it is by default, what is lost with a
// server is tried at the next, after a pause and within a budget, what cannot be
// connected to costs nothing, and what takes long is waited for: its server works on
// it.
//
// It promises that the share of the requests that are not served falls to 0.4, which is
// what a machine that is starved leaves of nothing at all, and that servers get at most
// 1.2 attempts for each request.
func retried() *ladder.Rung {
	return &ladder.Rung{
		Name: "retry",
		Story: "of five servers some are killed in turn, and those left fall behind; package retry tries again what was " +
			"lost, elsewhere and within a budget, where three attempts for everything bury all servers for good.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: float64(retryOffered), Keys: 1000, Judged: true}},
		Settle:   200 * time.Millisecond,
		Window:   1600 * time.Millisecond,
		Patience: 1200 * time.Millisecond,
		Handler:  newRetried,
		Promises: []ladder.Promise{
			{
				Metric: "error_ratio", Title: "share of the requests not served", Better: ladder.Lower, Format: "%.4f",
				Of:     func(r *ladder.Record) float64 { return 1 - r.Goodput() },
				Factor: 0.4,
			},
			{
				Metric: amplification, Title: "attempts for each request", Better: ladder.Lower, Format: "%.2f",
				Of:    func(r *ladder.Record) float64 { return r.Figures[amplification] },
				After: 1.2,
			},
		},
	}
}

// retrying is a proxy that repeats, and counts what that comes to.
type retrying struct {
	*lb.Proxy
	*ladder.Cluster
	requests, attempts atomic.Int64
}

func newRetried(with bool) (http.Handler, error) {
	h := &retrying{}
	nodes := make([]ladder.Node, retryServers)
	for i := range nodes {
		origin, err := ladder.NewOrigin(retryWorkers, retryService, retryQueue)
		if err != nil {
			return nil, err
		}
		nodes[i].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.attempts.Add(1)
			origin.ServeHTTP(w, r)
		})
		if i < len(retryDown) {
			nodes[i].Down, nodes[i].Up = retryDown[i][0], retryDown[i][1]
		}
	}
	var o *retry.Options
	if !with { // three attempts at once, each for a while, whatever becomes of the servers
		o = &retry.Options{AttemptTimeout: retryTimeout, Backoff: 1, Budget: retry.Budget{PerRequest: 2, Cap: 1e6}}
	}
	retrier, err := retry.New(o)
	if err != nil {
		return nil, err
	}
	if h.Cluster, err = ladder.NewCluster(nodes...); err != nil {
		return nil, err
	}
	balancer, err := lb.New(lb.Addrs(h.Addrs()...), &lb.Options{Policy: pick.RoundRobin{}, Outlier: lb.Outlier{Mode: uprung.Off}})
	if err != nil {
		return nil, err
	}
	h.Proxy, err = balancer.Proxy(&lb.ProxyOptions{
		Base: &http.Transport{DialContext: h.DialContext, MaxIdleConnsPerHost: 256},
		Wrap: retrier.Transport,
	})
	return h, err
}

// ServeHTTP passes a request on.
func (h *retrying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.requests.Add(1)
	h.Proxy.ServeHTTP(w, r)
}

// Figures returns how many attempts have reached a server for each request.
func (h *retrying) Figures() map[string]float64 {
	return map[string]float64{amplification: float64(h.attempts.Load()) / float64(max(h.requests.Load(), 1))}
}
