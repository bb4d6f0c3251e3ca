package ratelimit

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

// The simulated server is that of the experiment which the limit is judged by: ten
// workers, a mean of 100 ms for each request, and so 100 requests per second, a queue
// that takes all, and 5 ms of a worker's time for each refusal. Clients arrive at random
// and leave after a second; the work is done all the same.
const (
	simWorkers  = 10
	simMean     = 100 * time.Millisecond
	simCapacity = float64(simWorkers) / 0.1
	simRefusal  = 5 * time.Millisecond
	simPatience = time.Second
)

// services draw the time of a request, in means.
var services = map[string]func(*rand.Rand) float64{
	"exponential": (*rand.Rand).ExpFloat64,
	"constant":    func(*rand.Rand) float64 { return 1 },
	"uniform":     func(r *rand.Rand) float64 { return 2 * r.Float64() },
	"lognormal":   func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64() - 0.5) },
	"stragglers": func(r *rand.Rand) float64 { // one in fifty takes ten times as long
		if r.IntN(50) == 0 {
			return 10 / 1.18
		}
		return 1 / 1.18
	},
}

// simJob is a request that was admitted.
type simJob struct {
	token   Token
	arrived time.Duration
	needs   time.Duration
	ends    time.Duration
}

type simJobs []*simJob

func (h simJobs) Len() int           { return len(h) }
func (h simJobs) Less(i, j int) bool { return h[i].ends < h[j].ends }
func (h simJobs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *simJobs) Push(x any)        { *h = append(*h, x.(*simJob)) }
func (h *simJobs) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

// simulation is one run. All of it is one goroutine that sleeps from event to event.
type simulation struct {
	limit    *Concurrency
	service  func(*rand.Rand) float64
	seed     uint64
	demand   func(at time.Duration) float64 // in capacities
	slowness func(at time.Duration) float64 // of the server; nil means 1
	hangs    func(at time.Duration) bool    // nil means never

	served, offered []int // by second of arrival
	limits          []int // at the end of each second
}

func (s *simulation) run(length time.Duration) {
	arrivals := rand.New(rand.NewPCG(s.seed, 1))
	var (
		running simJobs
		waiting []*simJob
		debt    time.Duration
		id      uint64
		next    = time.Duration(0)
	)
	s.served, s.offered = make([]int, length/time.Second+1), make([]int, length/time.Second+1)
	begin := func(at time.Duration) {
		for len(running) < simWorkers && len(waiting) > 0 && (s.hangs == nil || !s.hangs(at)) {
			job := waiting[0]
			waiting = waiting[1:]
			job.ends = at + job.needs + debt
			debt = 0
			heap.Push(&running, job)
		}
	}
	for at := time.Duration(0); at < length; {
		// What is due first: an arrival, the end of a job, or the next tick.
		event := min(next, (at/(10*time.Millisecond)+1)*10*time.Millisecond)
		hung := s.hangs != nil && s.hangs(at)
		if len(running) > 0 && !hung {
			event = min(event, max(running[0].ends, at))
		}
		if event > at {
			time.Sleep(event - at)
			at = event
		}
		for len(running) > 0 && !hung && running[0].ends <= at {
			job := heap.Pop(&running).(*simJob)
			job.token.Release(uprung.Success)
			if at-job.arrived <= simPatience {
				s.served[job.arrived/time.Second]++
			}
		}
		if at >= next {
			s.offered[at/time.Second]++
			random := rand.New(rand.NewPCG(s.seed, 1000+id))
			id++
			slow := 1.0
			if s.slowness != nil {
				slow = s.slowness(at)
			}
			needs := time.Duration(s.service(random) * slow * float64(simMean))
			if token, err := s.limit.Acquire(context.Background(), Claim{}); err != nil {
				if !hung {
					debt += simRefusal
				}
			} else {
				waiting = append(waiting, &simJob{token: token, arrived: at, needs: needs})
			}
			next = at + time.Duration(arrivals.ExpFloat64()/(s.demand(at)*simCapacity)*float64(time.Second))
		}
		begin(at)
		if sec := int(at / time.Second); sec >= len(s.limits) {
			s.limits = append(s.limits, s.limit.Stats().Limit)
		}
	}
}

// goodput is the share of what could be served from one second to another that was.
func (s *simulation) goodput(from, to int) float64 {
	served, could := 0.0, 0.0
	for i := from; i < to; i++ {
		served += float64(s.served[i])
		could += min(float64(s.offered[i]), simCapacity)
	}
	return served / could
}

func steady(demand float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return demand }
}

func TestAdaptiveLimitKeepsGoodputUnderOverload(t *testing.T) {
	t.Parallel()
	// Where times vary as widely as those of the lognormal service, with a deviation of
	// 1.3 means, even the best fixed limit serves 0.02 less.
	wide := map[string]float64{"lognormal": 0.02}
	want := map[float64]float64{0.9: 0.95, 1.2: 0.95, 2: 0.90, 4: 0.80}
	for name, service := range services {
		for demand, least := range want {
			least -= wide[name]
			t.Run(fmt.Sprintf("%s/%.1fx", name, demand), func(t *testing.T) {
				t.Parallel()
				const seeds = 5
				sum := 0.0
				for seed := range uint64(seeds) {
					synctest.Test(t, func(t *testing.T) {
						s := &simulation{limit: uprung.Must(NewConcurrency(Adaptive(), nil)), service: service, seed: seed, demand: steady(demand)}
						s.run(56 * time.Second)
						got := s.goodput(10, 55)
						sum += got
						if got < least-0.06 {
							t.Errorf("seed %d: goodput is %.3f of what could be served, want %.2f; limits by second: %v", seed, got, least, s.limits)
						}
					})
				}
				if got := sum / seeds; got < least {
					t.Errorf("goodput is %.3f of what could be served, want %.2f", got, least)
				}
			})
		}
	}
}

// between is one value in the seconds from twenty to thirty, and else another.
func between(then, otherwise float64) func(time.Duration) float64 {
	return func(at time.Duration) float64 {
		if at >= 20*time.Second && at < 30*time.Second {
			return then
		}
		return otherwise
	}
}

// recovery is the seconds after the thirtieth until three seconds in a row have such a
// share of their requests served.
func (s *simulation) recovery(share float64) int {
	good := func(i int) bool { return float64(s.served[i]) >= share*min(float64(s.offered[i]), simCapacity) }
	for i := 30; i+3 < len(s.served); i++ {
		if good(i) && good(i+1) && good(i+2) {
			return i - 30
		}
	}
	return math.MaxInt
}

func TestAdaptiveLimitRecovers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		demand, slowness func(time.Duration) float64
		hangs            bool
		share            float64
		least            int
	}{
		"hang":           {demand: steady(0.8), hangs: true, share: 0.9, least: 3},
		"hang, overload": {demand: steady(2), hangs: true, share: 0.65, least: 3},
		"slowness":       {demand: steady(0.8), slowness: between(5, 1), share: 0.9, least: 12},
		"spike":          {demand: between(3, 0.8), share: 0.9, least: 1},
		"great spike":    {demand: between(10, 0.8), share: 0.9, least: 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(5) {
				synctest.Test(t, func(t *testing.T) {
					s := &simulation{limit: uprung.Must(NewConcurrency(Adaptive(), nil)), service: (*rand.Rand).ExpFloat64, seed: seed, demand: tt.demand, slowness: tt.slowness}
					if tt.hangs {
						s.hangs = func(at time.Duration) bool { return between(1, 0)(at) == 1 }
					}
					s.run(60 * time.Second)
					if got := s.recovery(tt.share); got > tt.least {
						t.Errorf("seed %d: recovery took %d s, want at most %d; served by second %v; limits %v", seed, got, tt.least, s.served, s.limits)
					}
				})
			}
		})
	}
}

// The traps of peers: limits that drift upwards without need (Netflix #134), fall to
// their least under jitter or stay there after an overload (go-concurrency-limits #117),
// and bases that are learned from an overload (failsafe-go #127).
func TestAdaptiveLimitStaysInRange(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		bounds   InFlight
		demand   float64
		from, to int // the range of the limit in the last half
		length   time.Duration
	}{
		{"no drift upwards under light load", Adaptive(), 0.3, 20, 20, 2 * time.Minute},
		{"no drift at half the limit", Adaptive(), 0.7, 12, 45, 2 * time.Minute},
		{"no drift of the base in a long overload", Adaptive(), 3, 12, 45, 3 * time.Minute},
		{"down from far too much", InFlight{Min: 4, Max: 1000, Initial: 100}, 3, 12, 70, 2 * time.Minute},
		{"up from the least", InFlight{Min: 2, Max: 1000, Initial: 2}, 3, 12, 45, 2 * time.Minute},
	} {
		for name, service := range services {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := &simulation{limit: uprung.Must(NewConcurrency(tt.bounds, nil)), service: service, seed: 1, demand: steady(tt.demand)}
					s.run(tt.length)
					out := 0
					half := s.limits[len(s.limits)/2:]
					for _, limit := range half {
						if limit < tt.from || limit > tt.to {
							out++
						}
					}
					if out > len(half)/7 { // looks at the base are short
						t.Errorf("the limit is out of %d to %d in %d of %d seconds: %v", tt.from, tt.to, out, len(half), half)
					}
				})
			})
		}
	}
}
