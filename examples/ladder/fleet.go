package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

// Three nodes are to admit 100 requests per second between them, and are offered seven
// times as many. A burst of a second's worth keeps a machine that stalls for less from
// losing any.
const (
	fleetNodes   = 3
	fleetLimit   = 100
	fleetOffered = 700

	admittedOver = "admitted_over_limit"
	offLimit     = "off_limit"
)

// fleet is the rung of package redislimit. Requests go to three nodes in turn, which have
// one budget.
//
// Without the technique each of them counts by itself, and they admit three times the
// limit. With it they count together: in the Redis at an address or, without one, in a
// limiter of this process that the three share.
//
// It promises that what is admitted is within a twentieth of the limit.
func fleet(redis string) *ladder.Rung {
	where := "here, all three are in one process and share its limiter; -redis has them share a server"
	if redis != "" {
		where = "here, in the Redis at " + redis
	}
	return &ladder.Rung{
		Name: "fleet",
		Story: "each of three nodes grants a client the whole limit; package redislimit has them count together (" +
			where + ").",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: fleetOffered, Judged: true}},
		Window:   1300 * time.Millisecond,
		Patience: 200 * time.Millisecond,
		Handler:  func(with bool) (http.Handler, error) { return newFleet(with, redis) },
		Promises: []ladder.Promise{
			{
				Metric: admittedOver, Title: "admitted, of what the limit allows", Better: ladder.Lower, Format: "%.2f",
				Of:     func(r *ladder.Record) float64 { return r.Figures[admittedOver] },
				Factor: 0.4,
				After:  1.05,
			},
			{
				Metric: offLimit, Title: "away from the limit, as a share of it", Better: ladder.Lower, Format: "%.3f",
				Of:    func(r *ladder.Record) float64 { return r.Figures[offLimit] },
				After: 0.05,
			},
		},
	}
}

// nodes are the nodes behind a handler that takes them in turn, and what they admit.
type nodes struct {
	handlers []http.Handler
	admitted atomic.Int64

	mu          sync.Mutex
	turn        int       // guarded by mu
	first, last time.Time // of the requests; guarded by mu
}

func newFleet(with bool, redis string) (*nodes, error) {
	f := &nodes{}
	budget := ratelimit.PerSecond(fleetLimit)
	everybody := func(*http.Request) (string, bool) { return "everybody", true }
	local := func() (uprung.Middleware, error) {
		l, err := ratelimit.New(budget, &ratelimit.Options{Name: "fleet", Key: everybody})
		if err != nil {
			return nil, err
		}
		return l.Middleware, nil
	}
	next := local
	switch {
	case with && redis == "":
		shared, err := local()
		if err != nil {
			return nil, err
		}
		next = func() (uprung.Middleware, error) { return shared, nil }
	case with:
		// The same for all nodes, and no other run: what that has spent is not ours.
		prefix := fmt.Sprintf("ladder-%x:", rand.Uint64())
		next = func() (uprung.Middleware, error) {
			// It ends with the program. A machine that is busy is no outage.
			store, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{redis}},
				&redislimit.StoreOptions{Prefix: prefix, Timeout: time.Second})
			if err != nil {
				return nil, err
			}
			l, err := redislimit.New(budget, store, &redislimit.Options{
				Options: ratelimit.Options{Name: "fleet", Key: everybody},
				Down:    redislimit.Closed, // to be noticed
			})
			if err != nil {
				return nil, err
			}
			return l.Middleware, nil
		}
	}
	for range fleetNodes {
		middleware, err := next()
		if err != nil {
			return nil, err
		}
		f.handlers = append(f.handlers, middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { f.admitted.Add(1) })))
	}
	return f, nil
}

// Unwrap returns one of the nodes.
func (f *nodes) Unwrap() http.Handler { return f.handlers[0] }

// ServeHTTP has the node serve whose turn it is.
func (f *nodes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.turn++
	turn := f.turn
	f.last = time.Now()
	if f.first.IsZero() {
		f.first = f.last
	}
	f.mu.Unlock()
	f.handlers[turn%len(f.handlers)].ServeHTTP(w, r)
}

// Figures compares what was admitted with what the limit allows in the time: a burst, and
// the rate from the first request to the last.
func (f *nodes) Figures() map[string]float64 {
	f.mu.Lock()
	allowed := fleetLimit + fleetLimit*f.last.Sub(f.first).Seconds()
	f.mu.Unlock()
	over := float64(f.admitted.Load()) / allowed
	return map[string]float64{admittedOver: over, offLimit: max(over-1, 1-over)}
}
