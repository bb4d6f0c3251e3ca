package retry

import (
	"context"
	"fmt"
	"net/http"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// Suite returns the suite of what repeating costs.
func Suite() *bench.Suite {
	return &bench.Suite{
		Name: "retry",
		Workload: fmt.Sprintf(`a GET request with a context that can be cancelled, through a round tripper to a base in memory that answers at once with a new response of %d bytes, which are read and closed
success: the base answers 200; none is the base alone, and the figures of the others are what they add to it
fail-then-success: the base answers 503 and 200 in turn, every request is sent twice, without a pause; none sends it twice and closes what it gives up
uprung has default settings, but a budget of one retry for each request and no pause where requests fail; -hedged: HedgeAt %v; -timeout: AttemptTimeout 1s
uprung-hedged sets a timer for each request, which hardly ever fires: no answer is later than a timer can be
failsafe-go: failsafehttp.NewRoundTripper with failsafehttp.NewRetryPolicyBuilder, which has no pause; it neither reads nor closes an answer that it gives up, ours does both`, bodyLen, hedgeAt),
		Contests: []bench.Runnable{
			contest(succeeding, []int{1, 2}, "success", func() http.RoundTripper { return healthy{} }),
			contest(repeating, []int{1}, "fail-then-success", func() http.RoundTripper { return &flaky{} }),
		},
		Targets: []bench.Target{
			{Case: "success/.*", Metric: "allocs", Bound: bench.AtMost(1)},
			{Case: "success/.*", Metric: "cpu_ns", Peer: failsafe, Bound: bench.AtMost(0.15)},
		},
	}
}

// contest is one over a base, in a case for each number of processors.
func contest(entrants []entrant, procs []int, name string, base func() http.RoundTripper) *bench.Contest[http.RoundTripper] {
	c := &bench.Contest[http.RoundTripper]{}
	for _, one := range entrants {
		c.Impls = append(c.Impls, bench.Impl[http.RoundTripper]{Name: one.name, Open: func(*bench.Env) (http.RoundTripper, error) {
			return one.wrap(base())
		}})
	}
	for _, n := range procs {
		c.Cases = append(c.Cases, bench.Case[http.RoundTripper]{
			Name:      fmt.Sprintf("%s/cpus=%d", name, n),
			Procs:     n,
			Ratio:     "cpu_ns",
			Reference: none,
			Begin:     func(*bench.Env) func(http.RoundTripper, *bench.Round) (bench.Figures, error) { return measure },
		})
	}
	return c
}

// measure has a caller for each worker send requests for one round.
func measure(rt http.RoundTripper, r *bench.Round) (bench.Figures, error) {
	callers := make([]*caller, r.Procs)
	for i := range callers {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var err error
		if callers[i], err = newCaller(ctx); err != nil {
			return nil, err
		}
	}
	return r.Loop(func(worker, _, n int) int { return callers[worker].send(rt, n) })
}
