package retry

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

const (
	// requests is how many are sent, or quickRequests for rough figures, and interval
	// every how often on average.
	requests      = 100_000
	quickRequests = 20_000
	interval      = 5 * time.Millisecond

	// One attempt of so many is a straggler, which takes later more.
	oneOf = 100
	later = 500 * time.Millisecond

	// stragglersCase is the name of the case.
	stragglersCase = "stragglers=1%"
)

// HedgeSuite returns the suite of what hedging does.
func HedgeSuite() *bench.Suite {
	model := &bench.Model{Package: "github.com/uprung/uprung/benchmarks/retry", Test: "TestModel"}
	return &bench.Suite{
		Name: "hedge",
		Workload: fmt.Sprintf(`virtual time, the same for a seed whenever it is run: the implementations themselves run in a bubble of testing/synctest, in a test that the go command builds
%d requests, Poisson arrivals, one in %v on average; each attempt takes a lognormal time, mu -3.9 and sigma 0.5 in seconds (median 20 ms), and 1 %% of them %v more:
  one of each %d first attempts, whichever, so that it is not luck on which side of the 99th percentile they lie, and second attempts by chance
  a service with room for everything: load does not slow it down; what the first attempt of a request takes is the same for all, and what the second does too
p50_ms, p99_ms, p999_ms: until there is a response; amplification: attempts that the service has seen for each request
none: one attempt; uprung: HedgeAt %v, at which hedges are at most 5 %% of all requests; failsafe-go: hedgepolicy.NewWithDelayQuantile(%[5]v, 1500, 20), with no budget as by default;
  -quick: %[6]d requests`,
			requests, interval, later, oneOf, hedgeAt, quickRequests),
		Contests: []bench.Runnable{model.Contest("p99_ms", []string{stragglersCase}, names(hedging))},
		Targets: []bench.Target{
			{Case: stragglersCase, Metric: "p99_ms", Peer: none, Bound: bench.AtMost(0.15)},
			{Case: stragglersCase, Metric: "amplification", Bound: bench.AtMost(1.05)},
			{Case: stragglersCase, Metric: "p999_ms", Peer: none, Bound: bench.AtMost(0.2), Stretch: true},
		},
	}
}

// service answers after a time that its seed, the request and the attempt say.
type service struct {
	seed     uint64
	attempts atomic.Int64
}

// call is one request, in the context of all its attempts.
type call struct {
	number   uint64
	attempts atomic.Uint64
}

// callKey is the key of a call in a context.
type callKey struct{}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.attempts.Add(1)
	c, _ := r.Context().Value(callKey{}).(*call)
	timer := time.NewTimer(takes(s.seed, c.number, c.attempts.Add(1)))
	defer timer.Stop()
	select {
	case <-timer.C:
		resp, _ := respond(r, http.StatusOK)
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// takes returns how long an attempt takes.
func takes(seed, request, attempt uint64) time.Duration {
	random := rand.New(rand.NewPCG(seed, request<<8|attempt))
	took := time.Duration(math.Exp(-3.9+0.5*random.NormFloat64()) * float64(time.Second))
	straggler := random.Uint64N(oneOf)
	if attempt == 1 {
		straggler = rand.New(rand.NewPCG(seed, request/oneOf<<8)).Uint64N(oneOf) // of this hundred
	}
	if straggler == request%oneOf {
		took += later
	}
	return took
}

// straggle sends requests through what an entrant makes of the service. It runs in a
// bubble.
func straggle(ctx context.Context, wrap wrapper, seed uint64, n int) (bench.Figures, error) {
	s := &service{seed: seed}
	rt, err := wrap(s)
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(seed, math.MaxUint64))
	took, errs := make([]time.Duration, n), make([]error, n)
	var callers sync.WaitGroup
	for i := range n {
		time.Sleep(time.Duration(random.ExpFloat64() * float64(interval)))
		callers.Go(func() {
			start := time.Now()
			errs[i] = sendOne(context.WithValue(ctx, callKey{}, &call{number: uint64(i)}), rt)
			took[i] = time.Since(start)
		})
	}
	callers.Wait()
	if err := cmp.Or(errs...); err != nil {
		return nil, err
	}
	slices.Sort(took)
	return bench.Figures{
		"p50_ms":        quantile(took, 0.5),
		"p99_ms":        quantile(took, 0.99),
		"p999_ms":       quantile(took, 0.999),
		"amplification": float64(s.attempts.Load()) / float64(n),
	}, nil
}

// sendOne sends a request under a context of its own, and reads the answer, which takes
// no time.
func sendOne(ctx context.Context, rt http.RoundTripper) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := newCaller(ctx)
	if err != nil {
		return err
	}
	if c.send(rt, 1) != 1 {
		return errAnswer
	}
	return nil
}

// errAnswer says that a request did not turn out as the service lets it.
var errAnswer = fmt.Errorf("a request has no complete answer of %d", http.StatusOK)

// quantile returns that of sorted durations, in milliseconds: the shortest one that
// a part q of all lies below.
func quantile(sorted []time.Duration, q float64) float64 {
	below := int(math.Round(q * float64(len(sorted))))
	return float64(sorted[min(below, len(sorted)-1)]) / float64(time.Millisecond)
}
