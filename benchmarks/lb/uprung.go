package lb

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// newEndpoints returns endpoints of one weight.
func newEndpoints(n int) []pick.Endpoint {
	endpoints := make([]pick.Endpoint, n)
	for i := range endpoints {
		endpoints[i].ID = fmt.Sprintf("endpoint-%d", i)
	}
	return endpoints
}

func newUprung(endpoints int) (balancer, error) {
	return withClock(pick.AgeEWMA{}, endpoints)
}

func newUprungP2C(endpoints int) (balancer, error) {
	return withClock(pick.PowerOfTwo{}, endpoints)
}

func newUprungRoundRobin(endpoints int) (balancer, error) {
	return withClock(pick.RoundRobin{}, endpoints)
}

func newUprungLeast(endpoints int) (balancer, error) {
	return withClock(pick.LeastRequest{}, endpoints)
}

// withClock gives a policy the instants and the random number of each request.
func withClock(policy pick.Policy, endpoints int) (balancer, error) {
	picker, err := policy.Picker(newEndpoints(endpoints), nil)
	if err != nil {
		return nil, err
	}
	base := time.Now()
	return func() int {
		token, ok := picker.Pick(pick.Request{Now: time.Since(base), Random: rand.Uint64()})
		if !ok {
			return -1
		}
		picker.Done(token, time.Since(base), uprung.Success)
		return token.Endpoint
	}, nil
}

// newUprungP2CNoClock has a policy that does not look at instants, and gives it
// none.
func newUprungP2CNoClock(endpoints int) (balancer, error) {
	picker, err := pick.PowerOfTwo{}.Picker(newEndpoints(endpoints), nil)
	if err != nil {
		return nil, err
	}
	return func() int {
		token, ok := picker.Pick(pick.Request{Random: rand.Uint64()})
		if !ok {
			return -1
		}
		picker.Done(token, 0, uprung.Success)
		return token.Endpoint
	}, nil
}
