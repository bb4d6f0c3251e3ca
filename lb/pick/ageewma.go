package pick

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// AgeEWMA is the default of package lb: of four endpoints drawn at random, the one
// from which an answer is expected first. What it expects is the moving average of
// an endpoint's response times, or the mean age of the requests that it has not
// answered yet, if that is more, times their number and one.
//
// The age sees a stalled endpoint while its requests are still out, before any
// timeout; and a failure counts as a very slow answer, so that an endpoint that
// fails fast attracts nothing. Averages rise in steps of at least a tenth and sink
// with a time constant of a second. An endpoint that is not asked is forgiven with
// a time constant of ten, so that it is tried again; one that is new gets one
// request at first.
//
// It looks at response times, up to the headers, and at requests that wait for
// them, never at how long a body takes: a stream that is open for an hour changes
// nothing.
//
// The weight of an endpoint is how often it is drawn. It matters little: where
// endpoints differ, their response times tell.
//
// In a discrete-event simulation of unequal, disturbed, stalled and failing
// backends it had 0.1 to 0.7 times the 99th percentile of [PowerOfTwo], and 0.5 to
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
	return p, nil
}

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
	cost    atomic.Uint64 // moving average of response times in nanoseconds, as the bits of a float64; 0 is unknown
	seen    atomic.Int64  // when cost was last changed
	_       [32]byte
}

type ageEWMA struct {
	pool    pool[ageCell]
	failure float64
}

// Pick implements [Picker].
func (p *ageEWMA) Pick(r Request) (Token, bool) {
	up := p.pool.up
	best, lowest := int32(-1), math.Inf(1)
	if n := len(up); n <= most {
		if n == 0 {
			return Token{}, false
		}
		start := below(r.Random, n)
		for i := range n {
			p.compare(up[(start+i)%n], &r, &best, &lowest)
		}
	} else {
		a, b := pair(r.Random, n)
		c, d := pair(mix(r.Random), n)
		p.compare(up[a], &r, &best, &lowest)
		p.compare(up[b], &r, &best, &lowest)
		p.compare(up[c], &r, &best, &lowest)
		p.compare(up[d], &r, &best, &lowest)
		if best < 0 {
			best = search(up, &r, func(i int32) float64 { return p.pool.cells[i].score(r.Now) })
		}
	}
	if best < 0 {
		return Token{}, false
	}
	return p.Take(int(best), r.Now), true
}

// compare makes an endpoint the best one if it is.
func (p *ageEWMA) compare(i int32, r *Request, best *int32, lowest *float64) {
	if r.Filter != nil && r.Filter.Refuses(int(i)) {
		return
	}
	if s := p.pool.cells[i].score(r.Now); s < *lowest {
		*best, *lowest = i, s
	}
}

// unknown is above every score of an endpoint that is known.
const unknown = math.MaxFloat64 / 2

// score returns the time to be expected until an answer, in nanoseconds.
func (c *ageCell) score(now time.Duration) float64 {
	n := c.waiting.Load()
	cost := math.Float64frombits(c.cost.Load())
	if cost == 0 {
		if n == 0 {
			return 0 // to be tried
		}
		return unknown // being tried
	}
	if idle := float64(int64(now) - c.seen.Load()); idle > patience {
		cost *= math.Exp((patience - idle) / forgiving)
	}
	if n > 0 {
		age := int64(now) - c.started.Load()/n*int64(time.Microsecond)
		cost = max(cost, float64(age))
	}
	return cost * float64(n+1)
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
	if outcome == uprung.Ignored {
		return
	}
	if bad(outcome) {
		rtt = max(rtt, p.failure)
	}
	cost := math.Float64frombits(c.cost.Load())
	idle := float64(int64(now) - c.seen.Swap(int64(now)))
	switch w := weight(idle); {
	case cost == 0:
		cost = rtt
	case rtt > cost:
		cost += max(leastStep, 1-w) * (rtt - cost)
	default:
		cost = cost*w + rtt*(1-w)
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
