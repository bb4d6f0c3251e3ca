package main

import (
	"net/http"
	"time"

	"github.com/uprung/uprung/internal/ladder"
)

// Five servers, of which any three could serve four times what is offered: that
// capacity is missing is not what this is about.
const (
	failureServers = 5
	failureWorkers = 2
	failureService = 5 * time.Millisecond
	failureQueue   = 10_000 // nobody is refused: who is not served in time has failed

	failureOffered = 3 * failureWorkers * int(time.Second/failureService) / 4

	// When one is killed and when it is back, in parts of the time.
	failureDown, failureUp = 0.4, 0.8
)

// failure is the rung of package lb, for servers that fail. Of five, one answers every
// request 500, and at once; another is killed with all its connections, and comes
// back.
//
// One after the other, as they are asked without it, each gets its fifth of the
// requests, dead or alive. With lb as it is by default a failure counts as an answer
// that took very long, and five in a row take a server out. Nothing is probed, and
// nothing is tried again: a few requests find out, and those fail.
//
// It promises that the share of the requests that are not served falls to a tenth.
func failure() *ladder.Rung {
	return &ladder.Rung{
		Name: "failure",
		Story: "of five servers one answers 500 to everything, and one is killed and comes back; package lb " +
			"learns it from a few requests and keeps away, without probes.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: float64(failureOffered), Keys: 1000, Judged: true}},
		Settle:   500 * time.Millisecond,
		Window:   1500 * time.Millisecond,
		Patience: time.Second,
		Handler: func(with bool) (http.Handler, error) {
			nodes := make([]ladder.Node, failureServers)
			for i := range nodes {
				origin, err := ladder.NewOrigin(failureWorkers, failureService, failureQueue)
				if err != nil {
					return nil, err
				}
				nodes[i].Handler = origin
			}
			nodes[0].Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "something is broken", http.StatusInternalServerError)
			})
			nodes[1].Down, nodes[1].Up = failureDown, failureUp
			return newBalanced(with, nodes)
		},
		Promises: []ladder.Promise{{
			Metric: "error_ratio", Title: "share of the requests not served", Better: ladder.Lower, Format: "%.4f",
			Of:     func(r *ladder.Record) float64 { return 1 - r.Goodput() },
			Factor: 0.1,
		}},
	}
}
