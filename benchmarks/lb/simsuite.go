package lb

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// SimulationSuite returns the suite of how good decisions are.
func SimulationSuite() *bench.Suite {
	s := &bench.Suite{
		Name: "lb-sim",
		Workload: `a simulation of events, the same for a seed whenever it is run: backends with 4 workers each and a queue in order of arrival, service times lognormal, of mean 10 ms and
sigma 0.8; Poisson arrivals, each at a random client; 0.25 ms each way; a client waits for 2 s, and its giving up cancels no work; no retries; 40 s after 10 s of warming up;
five such worlds of 20 backends are counted together, and one of 100; with -quick it is 10 s after 5 s, which is too short for the targets
load is that in % of what all backends but the failing one can do, with what they are slowed down by
mixed: one fifth of the backends is 3 times slower; one fifth is 2 times slower at times, which are on and off for 5 s on average; one makes no progress for 2 s of every 10;
  one answers 500 after 1 ms, whatever waits there, in the middle third of the time that is measured; homogeneous: none of that
each client has a policy of its own, which knows nothing of the other clients; arrivals, service times and a random number for each request are the same for all policies
p50_ms, p99_ms, p999_ms: of all answers but 500s, a request without an answer counting as 2 s; error_ratio: 500s and requests without an answer;
failing_share: what the failing backend gets while it fails, relative to an equal share
uprung, round-robin, p2c-least: the policies AgeEWMA, RoundRobin and PowerOfTwo of package lb/pick
peak-ewma: Finagle's, time constant 10 s, two different endpoints drawn, written anew; go-zero: see suite lb
prequal: of the paper (Wydrowski, Kleinberg, Rumble, Archer, NSDI 2024), written anew: one probe with each request, a pool of 16 or a quarter of the backends, at most 1 s old, hot above quantile 0.84 of
  requests in flight, 0.25 probes removed for each request, the oldest and the worst in turn, and with error aversion: a backend of whose answers to this client more than
  a tenth failed lately is hot; it alone is told by the backends, and pays with as many probes as there are requests`,
		Targets: simTargets,
	}
	c := &bench.Contest[policy]{}
	for _, one := range simEntrants {
		c.Impls = append(c.Impls, bench.Impl[policy]{Name: one.name, Open: func(*bench.Env) (policy, error) { return one.policy, nil }})
	}
	for _, mixed := range []bool{true, false} {
		for _, backends := range []int{20, mostBackends} {
			for _, clients := range []int{10, 100} {
				for _, load := range []int{70, 85, 95} {
					c.Cases = append(c.Cases, simulation(scenario{mixed: mixed, backends: backends, clients: clients, load: float64(load) / 100}))
				}
			}
		}
	}
	s.Contests = []bench.Runnable{c}
	return s
}

var simTargets = []bench.Target{
	{Case: "mixed/backends=[0-9]+/clients=100/load=[0-9]+", Metric: "p99_ms", Peer: "p2c-least", Bound: bench.AtMost(0.25)},
	{Case: "mixed/backends=[0-9]+/clients=100/load=[0-9]+", Metric: "p99_ms", Peer: "peak-ewma", Bound: bench.AtMost(0.85)},
	{Case: "mixed/backends=[0-9]+/clients=100/load=[0-9]+", Metric: "failing_share", Bound: bench.AtMost(0.05)},
	{Case: "homogeneous/.*", Metric: "p99_ms", Peer: "round-robin", Bound: bench.AtMost(1.05)},
}

// simEntrants are the implementations in the order of the tables' ties.
var simEntrants = []struct {
	name   string
	policy policy
}{
	{bench.Ours, ageEWMA},
	{"round-robin", roundRobin},
	{"p2c-least", powerOfTwo},
	{"peak-ewma", newPeakEWMA},
	{"go-zero", newGoZeroPolicy},
	{"prequal", newPrequal},
}

// name returns the name of the case.
func (s *scenario) name() string {
	kind := "homogeneous"
	if s.mixed {
		kind = "mixed"
	}
	return fmt.Sprintf("%s/backends=%d/clients=%d/load=%.0f", kind, s.backends, s.clients, s.load*100)
}

// mostBackends is the number of backends of all worlds of a case together: of few
// backends, it matters more which of them are disturbed at the same time.
const mostBackends = 100

// How long is simulated: less for rough figures.
const (
	warmUp, measured           = 10 * time.Second, 40 * time.Second
	quickWarmUp, quickMeasured = 5 * time.Second, 10 * time.Second
)

// simulation is the case of a scenario.
func simulation(s scenario) bench.Case[policy] {
	return bench.Case[policy]{
		Name:  s.name(),
		Exact: true,
		Ratio: "p99_ms",
		Begin: func(e *bench.Env) func(policy, *bench.Round) (bench.Figures, error) {
			s := s
			s.warmUp, s.measured = warmUp, measured
			if e.Quick {
				s.warmUp, s.measured = quickWarmUp, quickMeasured
			}
			s.warmUp, s.measured = time.Duration(e.Size(int(s.warmUp))), time.Duration(e.Size(int(s.measured)))
			worlds := make([]*world, max(1, mostBackends/s.backends))
			for i := range worlds {
				worlds[i] = newWorld(s, lognormal, e.Seed, i)
			}
			return func(p policy, _ *bench.Round) (bench.Figures, error) {
				o := newOutcomes()
				for _, w := range worlds {
					if err := w.run(p, o); err != nil {
						return nil, err
					}
				}
				return o.figures(&s), nil
			}
		},
	}
}

// figures returns what is reported of a simulation.
func (o *outcomes) figures(s *scenario) bench.Figures {
	f := bench.Figures{
		"p50_ms":      o.answers.quantile(0.5),
		"p99_ms":      o.answers.quantile(0.99),
		"p999_ms":     o.answers.quantile(0.999),
		"error_ratio": float64(o.failed+o.late) / float64(max(1, o.measured)),
	}
	if s.mixed {
		f["failing_share"] = float64(o.toFailing) * float64(s.backends) / float64(max(1, o.whileFailing))
	}
	return f
}

// lognormal returns service times of the suite.
func lognormal(random *rand.Rand) time.Duration { return lognormalOf(random, meanService, 0.8) }
