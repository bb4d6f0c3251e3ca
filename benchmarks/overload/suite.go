package overload

import (
	"fmt"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// seeds is of how many runs figures are the means.
const seeds = 3

// scenarios are the cases.
var scenarios = []scenario{
	{name: "demand=0.9x", demand: 0.9},
	{name: "demand=1.2x", demand: 1.2},
	{name: "demand=2x", demand: 2},
	{name: "demand=4x", demand: 4},
	{name: "outage=error", demand: 0.8, outage: fails},
	{name: "outage=hang", demand: 0.8, outage: hangs},
	{name: "spike=3x", demand: 0.8, spike: 3},
}

// cases returns the names of all scenarios.
func cases() []string {
	all := make([]string, len(scenarios))
	for i, s := range scenarios {
		all[i] = s.name
	}
	return all
}

// figures returns what is measured of a run.
func (s *scenario) figures(r *record, part int) bench.Figures {
	f := bench.Figures{"amplification": float64(r.attempts) / float64(max(r.requests, 1))}
	switch {
	case s.spike > 0:
		f["goodput_ratio"] = r.goodput(2*part, 3*part)
	case !s.event():
		f["goodput_ratio"] = r.goodput(part, len(r.seconds))
	}
	if s.event() {
		f["recovery_s"] = float64(r.recovery(3 * part))
	}
	return f
}

// Suite returns the suite.
func Suite() *bench.Suite {
	model := &bench.Model{Package: "github.com/uprung/uprung/benchmarks/overload", Test: "TestModel"}
	steady, eventful := cases()[:4], cases()[4:]
	return &bench.Suite{
		Name: "overload",
		Workload: fmt.Sprintf(`virtual time, in a bubble of testing/synctest, where the implementations themselves run, in a test that the go command builds; the mean of %d runs with seeds of their own, or one with -quick
a service of %d workers, to each of which a request is %v of work on average, exponentially distributed: it can do %g a second; %d wait, in order of arrival, and more are answered 503; workers do also what nobody waits for any more, unless it has a deadline that has passed; an answer of 503 or 429 takes %v of a worker's time
%d clients, each with a guard of its own, and Poisson arrivals; a client waits %v for a request and %v for an attempt; nothing that goes between client and server takes time
demand: of so many times what the service can do, for 50 s of which the first 10 s do not count; outage: at 0.8x, the service answers 500 at once from second 20 to 30, or its workers stand still; spike: at 0.8x, and three times what it can do in that time
goodput_ratio: requests that were served, of those that could be; of a spike, during it; amplification: attempts that reached the server for each request
recovery_s: from second 30 until three seconds of whose requests %.0f%% are served; 90 is never
uprung: package client, and at the server package deadline, which trusts the client, and ratelimit.Adaptive, all by default; -serverlimit: that limit alone, and one attempt; none: one attempt
retry: up to %d attempts, after a random pause of up to %v, and then twice that; gobreaker: the default around each of these attempts; go-zero: its breaker there, fed as by its package httpc
failsafe-go: retries with that pause and its budget, its adaptive throttler by default and its timeout; at the server its adaptive limiter by default; it draws random numbers that have no seed, so that its figures vary by some thousandths`,
			seeds, workers, mean, capacity, queued, refusing, clients, patience, attemptTimeout, 100*recovered, attempts, firstPause),
		Contests: []bench.Runnable{
			model.Contest("goodput_ratio", steady, names()),
			model.Contest("recovery_s", eventful, names()),
		},
		Targets: []bench.Target{
			{Case: "demand=0.9x", Metric: "goodput_ratio", Bound: bench.AtLeast(0.97)},
			{Case: "demand=(1.2|2|4)x", Metric: "goodput_ratio", Bound: bench.AtLeast(0.95)},
			{Case: "demand=1.2x", Impl: serverLimit, Metric: "goodput_ratio", Bound: bench.AtLeast(0.95)},
			{Case: "demand=2x", Impl: serverLimit, Metric: "goodput_ratio", Bound: bench.AtLeast(0.90)},
			{Case: "demand=4x", Impl: serverLimit, Metric: "goodput_ratio", Bound: bench.AtLeast(0.80)},
			{Case: "outage=error", Metric: "recovery_s", Bound: bench.AtMost(2)},
			{Case: "outage=hang", Metric: "recovery_s", Bound: bench.AtMost(3)},
			{Case: "spike=3x", Metric: "recovery_s", Bound: bench.AtMost(1)},
			{Case: ".*", Metric: "amplification", Bound: bench.AtMost(1.11)},
		},
	}
}
