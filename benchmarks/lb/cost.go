package lb

import (
	"fmt"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// Suite returns the suite of what a decision costs.
func Suite() *bench.Suite {
	s := &bench.Suite{
		Name: "lb",
		Workload: `pick: one endpoint is picked, it answers, and the request is done, at once; endpoints of one weight, each worker is one caller
every implementation reads the clock and draws random numbers as it does in use, and is called through the same func() int
uprung, uprung-least, uprung-roundrobin, uprung-p2c: the clock read twice and one random number by math/rand/v2, which the policies are given;
  uprung-p2c-noclock: without the clock, at whose instants this policy does not look; httplb does not read it either
kratos: the selector of selector/p2c with its own nodes; httplb: picker.NewPowerOfTwo
go-zero is the p2c of zrpc of go-zero v1.10.3, which is internal, written anew; its log line, once a minute, is left out
grpc-least is the picker of grpc-go v1.85.0's least_request, which is not exported, written anew; two endpoints are drawn, the default`,
		Targets: costTargets,
	}
	for _, endpoints := range []int{10, 100} {
		s.Contests = append(s.Contests, picks(endpoints))
	}
	return s
}

var costTargets = []bench.Target{
	{Case: "pick/.*", Metric: "allocs", Bound: bench.AtMost(0)},
	{Case: "pick/endpoints=100/cpus=2", Metric: "wall_ns", Peer: "go-zero", Bound: bench.AtMost(0.4)},
	{Case: "pick/endpoints=100/cpus=2", Metric: "wall_ns", Peer: "kratos", Bound: bench.AtMost(0.35)},
	{Case: "pick/endpoints=100/cpus=2", Metric: "wall_ns", Impl: "uprung-p2c-noclock", Peer: "httplb", Bound: bench.AtMost(0.5)},
}

// balancer is an implementation as the cases use it: it picks an endpoint, which
// answers at once, and returns its index, or -1.
type balancer func() int

// costEntrants are the implementations in the order of the tables' ties.
var costEntrants = []struct {
	name string
	make func(endpoints int) (balancer, error)
}{
	{bench.Ours, newUprung},
	{"uprung-p2c", newUprungP2C},
	{"uprung-p2c-noclock", newUprungP2CNoClock},
	{"uprung-roundrobin", newUprungRoundRobin},
	{"uprung-least", newUprungLeast},
	{"go-zero", newGoZeroBalancer},
	{"kratos", newKratos},
	{"httplb", newHTTPLB},
	{"grpc-least", newGRPCLeast},
}

// picks is the contest in picking one of so many endpoints.
func picks(endpoints int) *bench.Contest[balancer] {
	c := &bench.Contest[balancer]{}
	for _, one := range costEntrants {
		c.Impls = append(c.Impls, bench.Impl[balancer]{Name: one.name, Open: func(*bench.Env) (balancer, error) {
			return one.make(endpoints)
		}})
	}
	for procs := 1; procs <= 2; procs++ {
		ratio := "cpu_ns"
		if procs > 1 {
			ratio = "wall_ns"
		}
		c.Cases = append(c.Cases, bench.Case[balancer]{
			Name:  fmt.Sprintf("pick/endpoints=%d/cpus=%d", endpoints, procs),
			Procs: procs,
			Ratio: ratio,
			Begin: func(*bench.Env) func(balancer, *bench.Round) (bench.Figures, error) {
				return func(pick balancer, r *bench.Round) (bench.Figures, error) {
					return r.Loop(func(_, _, n int) (met int) {
						for range n {
							if i := pick(); i >= 0 && i < endpoints {
								met++
							}
						}
						return met
					})
				}
			},
		})
	}
	return c
}
