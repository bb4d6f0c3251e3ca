package concurrency

import (
	"context"
	"fmt"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/uprung/uprung"
	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/ratelimit"
)

// limiter takes a place, returns it, and reports whether it got one.
type limiter struct {
	pass func(context.Context) bool
}

const failsafe = "failsafe-go"

// Suite returns the suite.
func Suite() *bench.Suite {
	return &bench.Suite{
		Name: "concurrency",
		Workload: `acquire a place and release it at once, with a success; every place is there
adaptive: limits that find their number themselves; uprung is ratelimit.Adaptive, failsafe-go its adaptivelimiter with default limits and TryAcquirePermit
fixed: a number of 1000, by ratelimit.AtMost
refuse: an adaptive limit of which all places are taken; each asks for one more`,
		Contests: []bench.Runnable{
			contest("adaptive", []impl{{bench.Ours, adaptive}, {failsafe, newFailsafe}, {bench.Ours + "-fixed", fixed}}),
			contest("refuse", []impl{{bench.Ours, full}, {failsafe, fullFailsafe}}),
		},
		Targets: []bench.Target{
			{Case: "adaptive/.*", Metric: "cpu_ns", Peer: failsafe, Bound: bench.AtMost(0.35)},
			{Case: ".*", Metric: "allocs", Bound: bench.AtMost(0)},
		},
		Absent: []bench.Absent{{Impl: "go-concurrency-limits", Why: "the module proxy does not have it"}},
	}
}

type impl struct {
	name string
	open func() (limiter, error)
}

// contest is one of implementations, in a case for each number of processors.
func contest(name string, impls []impl) *bench.Contest[limiter] {
	c := &bench.Contest[limiter]{}
	for _, one := range impls {
		c.Impls = append(c.Impls, bench.Impl[limiter]{Name: one.name, Open: func(*bench.Env) (limiter, error) { return one.open() }})
	}
	for procs := 1; procs <= 2; procs++ {
		c.Cases = append(c.Cases, bench.Case[limiter]{
			Name:  fmt.Sprintf("%s/cpus=%d", name, procs),
			Procs: procs,
			Ratio: "cpu_ns",
			Begin: func(*bench.Env) func(limiter, *bench.Round) (bench.Figures, error) { return measure },
		})
	}
	return c
}

// measure has a caller for each worker ask for one round.
func measure(l limiter, r *bench.Round) (bench.Figures, error) {
	ctx, cancel := context.WithCancel(context.Background()) // as that of a request
	defer cancel()
	return r.Loop(func(_, _, n int) (met int) {
		for range n {
			if l.pass(ctx) {
				met++
			}
		}
		return met
	})
}

func adaptive() (limiter, error) { return ours(ratelimit.Adaptive()) }

func fixed() (limiter, error) { return ours(ratelimit.AtMost(1000)) }

func ours(limit ratelimit.InFlight) (limiter, error) {
	c, err := ratelimit.NewConcurrency(limit, nil)
	if err != nil {
		return limiter{}, err
	}
	return limiter{pass: func(ctx context.Context) bool {
		token, err := c.Acquire(ctx, ratelimit.Claim{})
		if err != nil {
			return false
		}
		token.Release(uprung.Success)
		return true
	}}, nil
}

func newFailsafe() (limiter, error) {
	l := adaptivelimiter.NewWithDefaults[any]()
	return limiter{pass: func(context.Context) bool {
		permit, ok := l.TryAcquirePermit()
		if !ok {
			return false
		}
		permit.Record()
		return true
	}}, nil
}

// full is a limit of which all places are taken: it passes if it refuses.
func full() (limiter, error) {
	c, err := ratelimit.NewConcurrency(ratelimit.Adaptive(), nil)
	if err != nil {
		return limiter{}, err
	}
	for err == nil {
		_, err = c.Acquire(context.Background(), ratelimit.Claim{})
	}
	return limiter{pass: func(ctx context.Context) bool {
		_, err := c.Acquire(ctx, ratelimit.Claim{})
		return err != nil
	}}, nil
}

func fullFailsafe() (limiter, error) {
	l := adaptivelimiter.NewWithDefaults[any]()
	for ok := true; ok; {
		_, ok = l.TryAcquirePermit()
	}
	return limiter{pass: func(context.Context) bool {
		_, ok := l.TryAcquirePermit()
		return !ok
	}}, nil
}
