package main

import (
	"net/http"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/lb/pick"
)

// Ten servers, each of which would serve 50 requests per second. They are offered two
// thirds of what they then could. As they are, they can serve a third more than that;
// but an equal share of it is twice what the slow one can serve, and 0.8 of what the
// one that stalls can.
const (
	balanceServers = 10
	balanceWorkers = 1
	balanceService = 20 * time.Millisecond
	balanceQueue   = 10_000 // nobody is refused: who is not served in time has failed

	balanceOffered = balanceServers * balanceWorkers * int(time.Second/balanceService) * 2 / 3

	// One takes three times as long, and one stands still for 2 of every 10 seconds, or
	// rather, since a rung is short, for a fifth of that in every fifth.
	balanceSlower  = 3
	balanceStalled = 2 * time.Second / 5
	balancePeriod  = 10 * time.Second / 5
)

// balance is the rung of package lb, for servers that are unequal. Of ten, one is
// three times slower than the others and one stalls for a fifth of the time.
//
// One after the other, as they are asked without it, the slow one gets more than it
// can serve: who is sent there waits longer and longer. With lb as it is by default
// each request goes where an answer is expected first, by how long other requests
// took and for how long they have been waiting.
//
// It promises that p99 falls to a quarter.
func balance() *ladder.Rung {
	return &ladder.Rung{
		Name: "balance",
		Story: "of ten servers one is three times slower than the others, and one stalls for 0.4 of every 2 seconds; " +
			"package lb sends requests where an answer is expected first, and not to one after the other.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: float64(balanceOffered), Keys: 1000, Judged: true}},
		Settle:   500 * time.Millisecond,
		Window:   1500 * time.Millisecond,
		Patience: 1500 * time.Millisecond,
		Handler: func(with bool) (http.Handler, error) {
			nodes := make([]ladder.Node, balanceServers)
			for i := range nodes {
				service := balanceService
				if i == 0 {
					service *= balanceSlower
				}
				origin, err := ladder.NewOrigin(balanceWorkers, service, balanceQueue)
				if err != nil {
					return nil, err
				}
				if i == 1 {
					if err := origin.Stall(balanceStalled, balancePeriod); err != nil {
						return nil, err
					}
				}
				nodes[i].Handler = origin
			}
			return newBalanced(with, nodes)
		},
		Promises: []ladder.Promise{{
			Metric: "p99_ms", Title: "p99", Better: ladder.Lower, Format: "%.0f ms",
			Of:     func(r *ladder.Record) float64 { return r.Latency(99).Seconds() * 1000 },
			Factor: 0.25,
		}},
	}
}

// balanced is a proxy and the servers behind it.
type balanced struct {
	*lb.Proxy
	*ladder.Cluster
}

// choices is the seed of what techniques draw, so that in virtual time a climb can be
// repeated.
const choices = 1

// newBalanced returns a proxy that sends requests to servers by the defaults of lb, or
// without the technique to one after the other, whatever becomes of them.
func newBalanced(with bool, nodes []ladder.Node) (http.Handler, error) {
	cluster, err := ladder.NewCluster(nodes...)
	if err != nil {
		return nil, err
	}
	o := &lb.Options{Seed: choices}
	if !with {
		o = &lb.Options{Policy: pick.RoundRobin{}, Outlier: lb.Outlier{Mode: uprung.Off}}
	}
	balancer, err := lb.New(lb.Addrs(cluster.Addrs()...), o)
	if err != nil {
		return nil, err
	}
	proxy, err := balancer.Proxy(&lb.ProxyOptions{
		Base: &http.Transport{DialContext: cluster.DialContext, MaxIdleConnsPerHost: 256},
	})
	return balanced{proxy, cluster}, err
}
