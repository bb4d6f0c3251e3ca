//go:build linux

package fleet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"
)

const (
	// Backends is how many servers there are.
	Backends = 20
	// Workers is how many requests each of them works at.
	Workers = 2
	// AtATime is how many of them have a fault at a time at most.
	AtATime = 4
	// Untouched are the servers, the first ones, that have none: to compare what becomes
	// of equals.
	Untouched = 5
	// SlowBy is how many times longer a slowed server takes.
	SlowBy = 3
)

// sigma is that of the service times, which are lognormal, as in the suite lb-sim of
// the benchmarks.
const sigma = 0.8

// Shape is what a plan is drawn from.
type Shape struct {
	Lasts   time.Duration
	Clients int
	Rate    float64       // requests of all clients in a second
	Work    time.Duration // the mean of service times
}

// Plan is what happens. Everything random is drawn before, so that all who carry it
// out do the same.
type Plan struct {
	Shape
	Seed     uint64
	Arrivals []Arrival
	Faults   []Fault
}

func (p *Plan) String() string {
	return fmt.Sprintf("seed %d: %d requests of %d clients and %d faults in %v", p.Seed, len(p.Arrivals), p.Clients, len(p.Faults), p.Lasts)
}

// Arrival is a request.
type Arrival struct {
	At, Work time.Duration
	Client   int
}

// Kind is what befalls a server.
type Kind uint8

// The kinds of faults.
const (
	Killed  Kind = iota // and started again in the end
	Stalled             // and continued
	Slowed
	kinds // their number
)

// Fault is that a server is not well for a while, or for good if To is 0.
type Fault struct {
	Backend  int
	Kind     Kind
	From, To time.Duration
}

// Seed returns the one of the environment variable UPRUNG_FLEET_SEED, or 1.
func Seed() uint64 {
	seed, err := strconv.ParseUint(os.Getenv("UPRUNG_FLEET_SEED"), 10, 64)
	if err != nil {
		return 1
	}
	return seed
}

// Plan draws a plan.
func (s Shape) Plan(seed uint64) *Plan {
	random := rand.New(rand.NewPCG(seed, 0))
	p := &Plan{Shape: s, Seed: seed}
	for at := 0.0; ; {
		at += random.ExpFloat64() / s.Rate
		if at >= s.Lasts.Seconds() {
			break
		}
		work := math.Exp(sigma*random.NormFloat64()-sigma*sigma/2) * float64(s.Work)
		p.Arrivals = append(p.Arrivals, Arrival{seconds(at), time.Duration(work), random.IntN(s.Clients)})
	}
	// Faults come in lanes, in each of which one follows the other. All of them end a
	// second before the requests do.
	uniform := func(from, to float64) time.Duration { return seconds(from + (to-from)*random.Float64()) }
	var lanes [AtATime]time.Duration // when the next one begins
	for i := range lanes {
		lanes[i] = uniform(1, 2.5)
	}
	var well [Backends]time.Duration // since when each has been
	for {
		from := slices.Min(lanes[:])
		f := Fault{Kind: Kind(len(p.Faults) % int(kinds)), From: from, To: from + uniform(1.5, 2.5)}
		if f.To > s.Lasts-time.Second {
			return p
		}
		for {
			f.Backend = Untouched + random.IntN(Backends-Untouched)
			if well[f.Backend] == 0 || from > well[f.Backend]+time.Second {
				break
			}
		}
		well[f.Backend] = f.To
		lanes[slices.Index(lanes[:], from)] = f.To + uniform(0.3, 1)
		p.Faults = append(p.Faults, f)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
