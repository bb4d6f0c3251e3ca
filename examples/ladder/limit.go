package main

import (
	"net/http"
	"time"

	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
)

// The origin serves 200 requests per second: 36 for each of five tenants, and a
// tenth in reserve.
const (
	limitWorkers = 5
	limitService = 25 * time.Millisecond
	limitQueue   = 240 // 1.2 s of work

	limitShare = 36 // requests per second of one tenant
)

// limit is the rung of package ratelimit. Four tenants send their share; the fifth
// sends ten times its own.
//
// Without a limit the queue is always full: who is admitted waits for all of it,
// and who is not is refused, whoever it is. With a limit of one share per tenant
// the fifth is answered 429 before it reaches the queue.
//
// It promises the four that their p99 falls to 0.3 of what it was and that 0.95 of
// their share, which is what they send, is served in time. (It is not all of it:
// arrivals at random exceed a share for a while now and then.)
func limit() *ladder.Rung {
	streams := []ladder.Stream{{Tenant: "bulk", PerSecond: 10 * limitShare, Keys: 1000}}
	for _, tenant := range []string{"ant", "bee", "cat", "dog"} {
		streams = append(streams, ladder.Stream{Tenant: tenant, PerSecond: limitShare, Keys: 1000, Judged: true})
	}
	return &ladder.Rung{
		Name: "limit",
		Story: "one of five tenants sends ten times its share of a server; package ratelimit gives each tenant " +
			"its share and answers the rest 429 before it reaches the queue.",
		Judged:   "the others",
		Streams:  streams,
		Settle:   time.Second, // the queue fills within 0.8 s; with the limit, the first burst is served within 0.5 s
		Window:   2 * time.Second,
		Patience: 1500 * time.Millisecond, // a quarter more than the queue takes
		Handler: func(with bool) (http.Handler, error) {
			origin, err := ladder.NewOrigin(limitWorkers, limitService, limitQueue)
			if err != nil || !with {
				return origin, err
			}
			limiter, err := ratelimit.New(ratelimit.PerSecond(limitShare), &ratelimit.Options{
				Name: "per-tenant",
				Key:  key.Header(ladder.TenantField),
			})
			if err != nil {
				return nil, err
			}
			return limiter.Middleware(origin), nil
		},
		Promises: []ladder.Promise{
			{
				Metric: "p99_ms_of_others", Title: "p99 of the others", Better: ladder.Lower, Format: "%.0f ms",
				Of:     func(r *ladder.Record) float64 { return r.Latency(99).Seconds() * 1000 },
				Factor: 0.3,
			},
			{
				Metric: "goodput_ratio_of_others", Title: "share of the others' requests served", Better: ladder.Higher, Format: "%.3f",
				Of:    (*ladder.Record).Goodput,
				After: 0.95,
			},
		},
	}
}
