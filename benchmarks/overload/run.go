package overload

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// clients is how many there are. Each has a guard of its own, and request i is that of
// client i mod clients.
const clients = 10

// scenario is what is asked of the service, and what happens to it.
type scenario struct {
	name   string
	demand float64 // in capacities
	spike  float64 // in capacities, during the event; zero if there is none
	outage outage  // during the event
}

// part is the unit of the time of a run, in seconds: the first is not measured, and an
// event lasts the third.
const part = 10

// length returns how many parts a run has.
func (s *scenario) length() int {
	if s.event() {
		return 12
	}
	return 5
}

// event reports whether something happens.
func (s *scenario) event() bool { return s.outage != never || s.spike > 0 }

// second is what was in one second.
type second struct {
	arrived, served int // of the requests that came in it, how many were served at last
	completed       int // served in it
}

// record is what a run came to.
type record struct {
	seconds  []second
	requests int
	attempts int
}

// run sends the requests of a scenario. It runs in a bubble. The part is in seconds.
func run(ctx context.Context, g *guard, s *scenario, seed uint64, part int) (*record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	event := span{2 * time.Duration(part) * time.Second, 3 * time.Duration(part) * time.Second}
	backend := &service{outage: s.outage, outages: event}
	backend.start(ctx)
	net := &wire{ctx: ctx, seed: seed, service: backend, handler: backend}
	var err error
	if g.server != nil {
		if net.handler, err = g.server(backend); err != nil {
			return nil, err
		}
	}
	var through [clients]http.RoundTripper
	for i := range through {
		if through[i], err = g.client(net, seed<<8|uint64(i+1)); err != nil {
			return nil, err
		}
	}

	seconds := part * s.length()
	r := &record{seconds: make([]second, seconds)}
	var mu sync.Mutex // of the record
	var waiting sync.WaitGroup
	arrivals := rand.New(rand.NewPCG(seed, 0))
	for number := uint64(1); ; number++ {
		demand := s.demand
		if s.spike > 0 && event.within(time.Since(backend.begun)) {
			demand = s.spike
		}
		time.Sleep(time.Duration(arrivals.ExpFloat64() / (demand * capacity) * float64(time.Second)))
		arrived := int(time.Since(backend.begun) / time.Second)
		if arrived >= seconds {
			break
		}
		r.requests++
		waiting.Go(func() {
			ok := send(ctx, through[number%clients], number)
			at := int(time.Since(backend.begun) / time.Second)
			mu.Lock()
			defer mu.Unlock()
			r.seconds[arrived].arrived++
			if ok {
				r.seconds[arrived].served++
				if at < seconds {
					r.seconds[at].completed++
				}
			}
		})
	}
	waiting.Wait()
	net.serving.Wait() // for work that nobody waits for
	r.attempts = int(net.attempts.Load())
	return r, nil
}

// send sends a request, and reports whether it was served.
func send(ctx context.Context, rt http.RoundTripper, number uint64) bool {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, callKey{}, &call{number: number}), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://service/", nil)
	if err != nil {
		return false
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close() == nil && err == nil && resp.StatusCode == http.StatusOK
}

// goodput returns what was served from one second to another, as a share of what could
// be: of what was asked for, and at most of what the service can do.
func (r *record) goodput(from, to int) float64 {
	asked, completed := 0, 0
	for _, s := range r.seconds[from:to] {
		asked += s.arrived
		completed += s.completed
	}
	return float64(completed) / max(1, min(float64(asked), capacity*float64(to-from)))
}

const (
	// recovered is the share of requests that are served once all is well again, for
	// lasting seconds.
	recovered = 0.9
	lasting   = 3
)

// recovery returns how many seconds after one all was well again. If it never was, that is
// as many as there are.
func (r *record) recovery(after int) int {
	well := 0
	for i := after; i < len(r.seconds); i++ {
		well++
		if s := r.seconds[i]; float64(s.served) < recovered*float64(s.arrived) {
			well = 0
		}
		if well == lasting {
			return i + 1 - lasting - after
		}
	}
	return len(r.seconds) - after
}
