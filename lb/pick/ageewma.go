package pick

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/splitmix"
)

// AgeEWMA is the default of package lb: of six endpoints drawn at random, the one
// from which an answer is expected first. What it expects is the moving average of
// an endpoint's response times, or the mean age of the requests that it has not
// answered yet, if that is more, times their number and one.
//
// The age sees a stalled endpoint while its requests are still out, before any
// timeout; and a failure counts as a very slow answer, of an endpoint that is as busy
// as any other, so that one that fails fast attracts nothing. A request that was given
// up, such as one that its hedge has outrun, counts as an answer if it has waited for
// longer than the average: it would have taken longer still. Averages rise in steps of at
// least a tenth and sink with a time constant of a second. An endpoint that is not asked
// is forgiven with a time constant of ten, so that it is tried again; one that is new
// gets one request at first.
//
// It looks at response times, up to the headers, and at requests that wait for
// them, never at how long a body takes: a stream that is open for an hour changes
// nothing.
//
// The weight of an endpoint is how often it is drawn. It matters little: where
// endpoints differ, their response times tell.
//
// In a discrete-event simulation of unequal, disturbed, stalled and failing
// backends it had 0.1 to 0.8 times the 99th percentile of [PowerOfTwo], and 0.5 to
// 0.9 times that of the peak EWMA that it comes from (Finagle's, of Twitter), which
// fails 50 times as many requests. Where the backends that are left are overloaded, it
// has no less.
type AgeEWMA struct {
	// FailureCost is the least that a request which failed, or was refused for
	// overload, counts as in response time: what a caller would have waited at most.
	// Zero means 2s.
	FailureCost time.Duration
}

// Picker implements [Policy].
func (a AgeEWMA) Picker(endpoints []Endpoint, prev Picker) (Picker, error) {
	if a.FailureCost < 0 {
		return nil, fmt.Errorf("pick: AgeEWMA.FailureCost is %v, want >= 0", a.FailureCost)
	}
	p := &ageEWMA{failure: float64(a.FailureCost)}
	if a.FailureCost == 0 {
		p.failure = float64(2 * time.Second)
	}
	var known *pool[ageCell]
	if before, ok := prev.(*ageEWMA); ok {
		known = &before.pool
	}
	var err error
	if p.pool, err = newPool(endpoints, known); err != nil {
		return nil, err
	}
	p.up = make([]*ageCell, len(p.pool.up))
	for i, endpoint := range p.pool.up {
		p.up[i] = p.pool.cells[endpoint]
	}
	return p, nil
}

// draws is how many endpoints are compared, an even number. In the simulation, six had
// 0.85 to 0.95 of the 99th percentile of four, at 1.2 times the cost of a choice.
const draws = 6

// The constants that won the simulation.
const (
	decay     = float64(time.Second)            // time constant of the average
	forgiving = float64(10 * time.Second)       // and of an endpoint that is not asked
	patience  = float64(100 * time.Millisecond) // until it is one
	leastStep = 0.1                             // of an average that rises
)

// ageCell is what is known of an endpoint, on cache lines of its own.
type ageCell struct {
	_       [64]byte
	waiting atomic.Int64 // requests that are not answered
	// started is the sum of the instants, in microseconds, at which those were sent.
	// In nanoseconds it would overflow with 3,500 of them after 30 days.
	started atomic.Int64
	// cost is the moving average of response times in nanoseconds, as the bits of a
	// float64. It is negative if the last answer was a failure, and 0 if there was none.
	cost atomic.Uint64
	seen atomic.Int64 // when cost was last changed
	_    [32]byte
}

type ageEWMA struct {
	pool    pool[ageCell]
	up      []*ageCell // the cells of pool.up
	failure float64
}

// Pick implements [Picker].
func (p *ageEWMA) Pick(r Request) (Token, bool) {
	up := p.pool.up
	if len(up) <= draws {
		return p.search(r)
	}
	var drawn [draws]int32
	random := r.Random
	for i := 0; i < draws; i += 2 {
		a, b := pair(random, len(up))
		drawn[i], drawn[i+1] = int32(a), int32(b)
		random = splitmix.Mix(random)
	}
	if r.Filter != nil {
		n := 0
		for _, slot := range drawn {
			if !r.Filter.Refuses(int(up[slot])) {
				drawn[n] = slot
				n++
			}
		}
		if n == 0 {
			return p.search(r)
		}
		return p.Take(p.best(drawn[:n], r.Now), r.Now), true
	}
	return p.Take(p.best(drawn[:], r.Now), r.Now), true
}

// search compares the first few endpoints from a random place on that the filter does
// not refuse: all, if there are no more, and otherwise what is left to do when all that
// were drawn are refused.
func (p *ageEWMA) search(r Request) (Token, bool) {
	up := p.pool.up
	var found [draws]int32
	n := 0
	start := below(r.Random, len(up))
	for i := 0; i < len(up) && n < draws; i++ {
		slot := (start + i) % len(up)
		if r.Filter == nil || !r.Filter.Refuses(int(up[slot])) {
			found[n] = int32(slot)
			n++
		}
	}
	if n == 0 {
		return Token{}, false
	}
	return p.Take(p.best(found[:n], r.Now), r.Now), true
}

// best returns the endpoint from which an answer is expected first, the first of equal
// ones. What fails at once has no requests that wait, which is no advantage: it counts
// as if it had as many as the busiest of them.
func (p *ageEWMA) best(drawn []int32, now time.Duration) int {
	chosen, lowest, busiest, failing := int32(0), math.Inf(1), 0.0, false
	for _, slot := range drawn {
		e := p.up[slot].at(now, p.failure)
		busiest = max(busiest, e.requests)
		failing = failing || e.failing
		if score := e.cost * e.requests; score < lowest {
			chosen, lowest = slot, score
		}
	}
	if !failing {
		return int(p.pool.up[chosen])
	}
	lowest = math.Inf(1)
	for _, slot := range drawn {
		e := p.up[slot].at(now, p.failure)
		if e.failing {
			e.requests = busiest
		}
		if score := e.cost * e.requests; score < lowest {
			chosen, lowest = slot, score
		}
	}
	return int(p.pool.up[chosen])
}

// expected is what is to be expected of an endpoint.
type expected struct {
	cost     float64 // response time of one request, in nanoseconds
	requests float64 // those that wait, and this one
	failing  bool    // its last answer was a failure
}

// untried is the cost of an endpoint that has not answered yet, as a part of that of a
// failure: it is rather waited for than one that fails, and rather not than any other.
const untried = 0.9

// at returns what is to be expected of an endpoint.
func (c *ageCell) at(now time.Duration, failure float64) expected {
	n := c.waiting.Load()
	cost := math.Float64frombits(c.cost.Load())
	known := expected{cost: math.Abs(cost), failing: cost < 0, requests: float64(n + 1)}
	if cost == 0 {
		if n == 0 {
			return known // a trial comes first
		}
		known.cost = untried * failure
	} else if idle := float64(int64(now) - c.seen.Load()); idle > patience {
		known.cost *= math.Exp((patience - idle) / forgiving)
	}
	if n > 0 {
		age := int64(now) - c.started.Load()/n*int64(time.Microsecond)
		known.cost = max(known.cost, float64(age))
	}
	return known
}

// Take implements [Picker].
func (p *ageEWMA) Take(endpoint int, now time.Duration) Token {
	c := p.pool.cells[endpoint]
	// The sum first: a reader between the two must not see one more request that
	// seems to have been sent at the origin.
	c.started.Add(now.Microseconds())
	c.waiting.Add(1)
	return Token{Endpoint: endpoint, Start: now}
}

// The states of a token.
const (
	waiting  uint8 = iota
	answered       // with success, as far as can be said
	counted        // answered, and there is no more to be said
)

// Answered implements [Picker].
func (p *ageEWMA) Answered(t Token, now time.Duration, outcome uprung.Outcome) Token {
	if t.State != waiting {
		return t
	}
	c := p.pool.cells[t.Endpoint]
	c.waiting.Add(-1)
	c.started.Add(-t.Start.Microseconds())
	p.observe(c, now-t.Start, now, outcome)
	t.State = answered
	if bad(outcome) {
		t.State = counted
	}
	return t
}

// Done implements [Picker].
func (p *ageEWMA) Done(t Token, now time.Duration, outcome uprung.Outcome) {
	switch {
	case t.State == waiting:
		p.Answered(t, now, outcome)
	case t.State == answered && bad(outcome):
		p.observe(p.pool.cells[t.Endpoint], 0, now, outcome)
	}
}

// bad reports whether an outcome counts as a slow answer.
func bad(outcome uprung.Outcome) bool {
	return outcome == uprung.Failure || outcome == uprung.Overload
}

// observe moves the average of an endpoint. An update that another overtakes loses
// one observation.
func (p *ageEWMA) observe(c *ageCell, took, now time.Duration, outcome uprung.Outcome) {
	rtt := max(float64(took), 1)
	before := math.Float64frombits(c.cost.Load())
	cost, failing := math.Abs(before), before < 0
	switch {
	case outcome == uprung.Ignored:
		// No longer than a failure: it may have been a stream.
		if rtt = min(rtt, p.failure); cost == 0 || rtt <= cost {
			return
		}
	case bad(outcome):
		rtt, failing = max(rtt, p.failure), true
	default:
		failing = false
	}
	idle := float64(int64(now) - c.seen.Swap(int64(now)))
	switch w := weight(idle); {
	case cost == 0:
		cost = rtt
	case rtt > cost:
		cost += max(leastStep, 1-w) * (rtt - cost)
	default:
		cost = cost*w + rtt*(1-w)
	}
	if failing {
		cost = -cost
	}
	c.cost.Store(math.Float64bits(cost))
}

// weight returns what is left of an observation's weight after a time.
func weight(idle float64) float64 {
	x := max(idle, 0) / decay
	if x < 1.0/64 { // where the third power is below a millionth
		return 1 - x + x*x/2
	}
	return math.Exp(-x)
}
