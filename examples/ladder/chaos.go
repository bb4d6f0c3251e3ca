package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/chaos"
	"github.com/uprung/uprung/client"
	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/ratelimit"
)

// Six servers, of which any four could serve all that the tenants should ask for. One of
// these asks for several times its share.
const (
	chaosServers = 6
	chaosWorkers = 4
	chaosService = 20 * time.Millisecond
	chaosQueue   = 60

	chaosShare = 60 // requests per second of each tenant
	chaosBulk  = 5  // times that, of the one that asks for too much

	// chaosAttempt is what an answer takes at the very most, while all is well.
	chaosAttempt = 200 * time.Millisecond
	chaosStep    = 600 * time.Millisecond
)

// chaosFaults are what befalls the servers: each has its own, for one step of every four,
// in turn.
var chaosFaults = []chaos.Fault{
	{Name: "slow", Delay: chaos.Uniform(200*time.Millisecond, 400*time.Millisecond)},
	{Name: "resets", Reset: true},
	{Name: "fails", Status: http.StatusInternalServerError},
	{Name: "hangs", Delay: chaos.Fixed(time.Hour)},
}

// mayhem is the rung of the whole ladder at once, under a scenario of package chaos:
// servers are slow, reset connections, fail and hang in turn, while one tenant asks for
// five times its share.
//
// Without any of it, requests go to one server after the other, and wait. With it, the
// bulk is refused at the door (ratelimit), what is in progress is bounded at each server
// (ratelimit.Concurrency), and package client does the rest: it goes to those that answer,
// repeats within a budget, hedges, and leaves alone what is broken.
//
// It promises the other tenants that the share of their requests that are not served falls
// to 0.4, which is what a machine that is starved leaves of nothing at all.
func mayhem() *ladder.Rung {
	streams := []ladder.Stream{{Tenant: "bulk", PerSecond: chaosBulk * chaosShare, Keys: 1000}}
	for _, tenant := range []string{"ant", "bee", "cat", "dog"} {
		streams = append(streams, ladder.Stream{Tenant: tenant, PerSecond: chaosShare, Keys: 1000, Judged: true})
	}
	return &ladder.Rung{
		Name: "chaos",
		Story: "package chaos makes servers slow, reset connections, fail and hang in turn, while one of five tenants " +
			"asks for five times its share; all rungs together: ratelimit at the door and before each server, package client between.",
		Judged:   "the others",
		Streams:  streams,
		Settle:   600 * time.Millisecond,
		Window:   2400 * time.Millisecond, // each fault once
		Patience: time.Second,
		Handler:  newMayhem,
		Promises: []ladder.Promise{{
			Metric: "error_ratio_of_others", Title: "share of the others' requests not served", Better: ladder.Lower, Format: "%.4f",
			Of:     func(r *ladder.Record) float64 { return 1 - r.Goodput() },
			Factor: 0.4,
		}},
	}
}

// stricken is a handler whose servers meet faults from its first request on.
type stricken struct {
	http.Handler
	*ladder.Cluster
	injectors []*chaos.Injector

	once    sync.Once
	stop    context.CancelFunc
	playing sync.WaitGroup
}

func newMayhem(with bool) (http.Handler, error) {
	s := &stricken{}
	nodes := make([]ladder.Node, chaosServers)
	for at := range nodes {
		origin, err := ladder.NewOrigin(chaosWorkers, chaosService, chaosQueue)
		if err != nil {
			return nil, err
		}
		var server http.Handler = origin
		if with {
			limit, err := ratelimit.NewConcurrency(ratelimit.AtMost(4*chaosWorkers), &ratelimit.ConcurrencyOptions{Name: "server"})
			if err != nil {
				return nil, err
			}
			server = limit.Middleware(origin)
		}
		injector, err := chaos.New(nil, &chaos.Options{Name: "server", Seed: choices + uint64(at), MaxActive: 10_000})
		if err != nil {
			return nil, err
		}
		s.injectors = append(s.injectors, injector)
		nodes[at].Handler = injector.Middleware(server)
	}
	var err error
	if s.Cluster, err = ladder.NewCluster(nodes...); err != nil {
		return nil, err
	}
	s.Ending = s.calm
	base := &http.Transport{DialContext: s.DialContext, MaxIdleConnsPerHost: 256}
	if !with {
		s.Handler = inTurn(s.Addrs(), base)
		return s, nil
	}
	transport, err := client.NewTransport(lb.Addrs(s.Addrs()...), &client.Options{
		Name: "servers", Base: base, Deadline: time.Second, AttemptTimeout: chaosAttempt, LB: &lb.Options{Seed: choices},
	})
	if err != nil {
		return nil, err
	}
	limiter, err := ratelimit.New(ratelimit.PerSecond(chaosShare*3/2), &ratelimit.Options{Name: "per-tenant", Key: key.Header(ladder.TenantField)})
	if err != nil {
		return nil, err
	}
	s.Handler = limiter.Middleware(uprung.Named(uprung.Layer{Kind: "proxy"}, func(http.Handler) http.Handler {
		return &httputil.ReverseProxy{
			Rewrite:      func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "servers" },
			Transport:    transport,
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { w.WriteHeader(statusOf(err)) },
		}
	})(nil))
	return s, nil
}

// statusOf returns what a client is told of an error.
func statusOf(err error) int {
	if _, ok := errors.AsType[*uprung.Rejection](err); ok {
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// inTurn is a proxy that asks one server after the other, whatever becomes of them.
func inTurn(addrs []string, base http.RoundTripper) http.Handler {
	var next atomic.Uint64
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", addrs[next.Add(1)%uint64(len(addrs))]
		},
		Transport:    base,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
}

// Unwrap returns what the requests go through.
func (s *stricken) Unwrap() http.Handler { return s.Handler }

// ServeHTTP passes a request on. The first begins the scenario.
func (s *stricken) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.once.Do(s.strike)
	s.Handler.ServeHTTP(w, r)
}

// strike has the servers meet their faults in turn, until calm is called.
func (s *stricken) strike() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	for at, fault := range chaosFaults {
		injector := s.injectors[at]
		var day chaos.Scenario
		for step := range chaosFaults {
			part := chaos.Step{For: chaosStep}
			if step == at {
				part.Faults = []chaos.Fault{fault}
			}
			day = append(day, part)
		}
		s.playing.Go(func() {
			for ctx.Err() == nil {
				if injector.Run(ctx, day) != nil {
					return // the half is over
				}
			}
		})
	}
}

// calm ends the scenario.
func (s *stricken) calm() {
	s.once.Do(func() { s.stop = func() {} }) // if it has not begun, it never does
	s.stop()
	s.playing.Wait()
}
