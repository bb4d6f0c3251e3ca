package lb

import (
	"math"
	"math/rand/v2"
	"time"
)

// scenario is what is simulated.
type scenario struct {
	// mixed says that there are slow, disturbed, stalling and failing backends.
	mixed             bool
	backends, clients int
	// load is relative to what all backends but the failing one can do.
	load             float64
	warmUp, measured time.Duration
}

const (
	meanService = 10 * time.Millisecond
	network     = 250 * time.Microsecond // one way
	patience    = 2 * time.Second        // of a client
	failingIn   = time.Millisecond       // from arrival to a 500

	slowBy      = 3
	disturbedBy = 2
	disturbance = 5 * time.Second // mean time with it, and without
	stall       = 2 * time.Second
	stallEvery  = 10 * time.Second
)

// end is when the last request is sent.
func (s *scenario) end() time.Duration { return s.warmUp + s.measured }

// failing returns when the failing backend fails.
func (s *scenario) failing() (from, to time.Duration) {
	return s.warmUp + s.measured/3, s.warmUp + s.measured*2/3
}

// role is what is wrong with a backend.
type role uint8

const (
	plain role = iota
	slow
	disturbed
	stalling
	failing
)

// roles returns the roles of the backends. A fifth of them is slow and a fifth
// disturbed.
func (s *scenario) roles() []role {
	roles := make([]role, s.backends)
	if !s.mixed {
		return roles
	}
	fifth := s.backends / 5
	for i := range fifth {
		roles[i], roles[fifth+i] = slow, disturbed
	}
	roles[2*fifth], roles[2*fifth+1] = stalling, failing
	return roles
}

// capacity returns the number of backends that could do what all but the failing
// one can.
func (s *scenario) capacity() float64 {
	sum := 0.0
	for _, r := range s.roles() {
		switch r {
		case plain:
			sum++
		case slow:
			sum += 1.0 / slowBy
		case disturbed:
			sum += (1 + 1.0/disturbedBy) / 2
		case stalling:
			sum += 1 - float64(stall)/float64(stallEvery)
		}
	}
	return sum
}

// rate returns the requests per nanosecond of all clients together.
func (s *scenario) rate() float64 {
	return s.load * s.capacity() * workers / float64(meanService)
}

// arrival is a request, whoever is to serve it.
type arrival struct {
	at     time.Duration
	work   time.Duration // of a worker that is not slowed down
	random uint64        // for the policy
	client int
}

// arrivals returns the requests of a scenario.
func (s *scenario) arrivals(service func(*rand.Rand) time.Duration, random *rand.Rand) []arrival {
	rate := s.rate()
	all := make([]arrival, 0, int(1.02*rate*float64(s.end()))+100)
	for at := 0.0; ; {
		at += random.ExpFloat64() / rate
		if at >= float64(s.end()) {
			return all
		}
		all = append(all, arrival{time.Duration(at), service(random), random.Uint64(), random.IntN(s.clients)})
	}
}

// lognormalOf draws from the lognormal distribution of a mean and a sigma.
func lognormalOf(random *rand.Rand, mean time.Duration, sigma float64) time.Duration {
	return time.Duration(float64(mean) * math.Exp(sigma*random.NormFloat64()-sigma*sigma/2))
}
