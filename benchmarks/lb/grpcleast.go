package lb

import (
	"math/rand/v2"
	"sync/atomic"
)

// grpcLeast does what the picker of grpc-go's least_request policy does (gRFC A48):
// of a number of endpoints drawn at random, with replacement, it takes the first of
// those with the fewest requests in progress, asks the picker of that endpoint, and
// hands out a function that ends the request. Like the original, it copies the state
// of each endpoint that it draws, which the function keeps.
type grpcLeast struct {
	choices   int
	endpoints []grpcEndpoint
	draw      func() uint32
}

type grpcEndpoint struct {
	child    grpcChild
	requests *atomic.Int32
}

// grpcChild is the picker of one endpoint.
type grpcChild interface{ pick() (grpcPicked, error) }

// grpcPicked is what a pick gives: a connection and what to call at the end.
type grpcPicked struct {
	conn int
	done func(error)
}

// grpcConn is the picker of an endpoint with one connection.
type grpcConn int

func (c grpcConn) pick() (grpcPicked, error) { return grpcPicked{conn: int(c)}, nil }

// grpcChoices is the number of choices that applies unless a configuration says
// otherwise.
const grpcChoices = 2

func (p *grpcLeast) pick() (grpcPicked, error) {
	var best *grpcEndpoint
	var fewest int32
	for range p.choices {
		endpoint := p.endpoints[p.draw()%uint32(len(p.endpoints))]
		if n := endpoint.requests.Load(); best == nil || n < fewest {
			best, fewest = &endpoint, n
		}
	}
	picked, err := best.child.pick()
	if err != nil {
		return picked, err
	}
	best.requests.Add(1)
	inner := picked.done
	picked.done = func(err error) {
		best.requests.Add(-1)
		if inner != nil {
			inner(err)
		}
	}
	return picked, nil
}

func makeGRPCLeast(endpoints int, draw func() uint32) *grpcLeast {
	p := &grpcLeast{choices: grpcChoices, draw: draw}
	for i := range endpoints {
		p.endpoints = append(p.endpoints, grpcEndpoint{grpcConn(i), new(atomic.Int32)})
	}
	return p
}

func newGRPCLeast(endpoints int) (balancer, error) {
	p := makeGRPCLeast(endpoints, rand.Uint32)
	return func() int {
		picked, err := p.pick()
		if err != nil {
			return -1
		}
		picked.done(nil)
		return picked.conn
	}, nil
}
