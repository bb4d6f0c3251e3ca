package main

import (
	"net/http"
	"time"

	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/ratelimit"
)

// The origin serves 100 requests per second, and four times as many come.
const (
	overloadWorkers = 5
	overloadService = 50 * time.Millisecond
	overloadQueue   = 125 // 1.25 s of work
	overloadDemand  = 4   // capacities

	overloadCapacity = float64(overloadWorkers) / 0.050 // requests per second
)

// overload is the rung of concurrency limits. More comes than can be served, and
// clients do not wait for longer than half of what the queue takes.
//
// Without a limit the queue is always full: whatever is served has waited for too long,
// the work is done for clients that have left, and nothing is of use to anybody. With
// one, as many are in progress as the origin works on best, and the rest is refused at
// once.
//
// It promises that 0.85 of what the origin can do is of use.
func overload() *ladder.Rung {
	return &ladder.Rung{
		Name: "overload",
		Story: "four times as many requests come as a server can do; package ratelimit finds how many it does best at " +
			"once and answers the rest 503 before any work is done for them.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "everybody", PerSecond: overloadDemand * overloadCapacity, Keys: 1000, Judged: true}},
		Settle:   500 * time.Millisecond, // the queue is full by then
		Window:   900 * time.Millisecond,
		Patience: 600 * time.Millisecond,
		Handler: func(with bool) (http.Handler, error) {
			origin, err := ladder.NewOrigin(overloadWorkers, overloadService, overloadQueue)
			if err != nil || !with {
				return origin, err
			}
			limit, err := ratelimit.NewConcurrency(ratelimit.Adaptive(), &ratelimit.ConcurrencyOptions{Name: "origin"})
			if err != nil {
				return nil, err
			}
			return limit.Middleware(origin), nil
		},
		Promises: []ladder.Promise{{
			Metric: "goodput_ratio_of_capacity", Title: "share of the capacity that is of use", Better: ladder.Higher, Format: "%.3f",
			// What is admitted while the limit still grows is served after the measured time.
			Of:    func(r *ladder.Record) float64 { return min(r.Goodput()*overloadDemand, 1) },
			After: 0.85,
		}},
	}
}
