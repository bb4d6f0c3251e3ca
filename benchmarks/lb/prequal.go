package lb

import (
	"math"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// The settings of Prequal, which are the paper's but for the rates: one probe for
// each request and, as in its experiment on the rate of probes, a quarter of one
// removed.
const (
	prequalPool     = 16 // probes, or a quarter of the backends if that is less
	prequalAge      = time.Second
	prequalQuantile = 0.84
	prequalRemoved  = 0.25 // probes for each request
	prequalProbes   = 1.0  // for each request
	prequalDelta    = 1.0  // how many uses of a probe there are beyond those needed
	prequalFewest   = 2    // probes, or the choice is random
	prequalWindow   = 128  // probes of which the quantile is taken

	averse     = 0.9 // successes below which a backend is hot
	aversionBy = 0.1 // weight of the last outcome
)

// prequal is the policy of "Load is not what you should balance: Introducing
// Prequal" (Wydrowski, Kleinberg, Rumble and Archer, NSDI 2024): with each request a
// random backend is asked for its requests in flight and its latency, and the request
// goes to the best backend that was asked lately: of those that are not hot, which is
// having more in flight than most, the one of the lowest latency; if all are hot, the
// one with the fewest in flight.
//
// With error aversion, a backend whose answers have failed is hot: without, it would
// attract requests, being fast.
type prequal struct {
	backends []*backend
	success  []float64
	size     int     // of pool, at most
	pool     []probe // the oldest first
	sent     []probe // with answers on the way
	uses     float64 // of a probe
	seen     quantiles
	removals float64 // that are due
	worst    bool    // is removed next, not the oldest
}

// probe is what a backend has told.
type probe struct {
	at       time.Duration // when the client has it
	backend  int
	inFlight int
	latency  time.Duration
	used     float64
}

func newPrequal(backends []*backend) (chooser, error) {
	p := &prequal{backends: backends, success: make([]float64, len(backends))}
	for i, b := range backends {
		if b.status == nil {
			b.status = &status{}
		}
		p.success[i] = 1
	}
	p.size, p.uses = prequalSize(len(backends))
	return p, nil
}

// prequalSize returns the size of the pool and how often a probe is used (section 4
// of the paper), on the average. The formula is for a pool that is small compared to
// the backends: with 16 of 20 it gives less than the pool needs to be full, and every
// other way to read it made p99 worse.
func prequalSize(backends int) (size int, uses float64) {
	size = max(prequalFewest, min(prequalPool, backends/4))
	left := (1-float64(size)/float64(backends))*prequalProbes - prequalRemoved
	if left <= 0 {
		return size, math.Inf(1)
	}
	return size, max(1, (1+prequalDelta)/left)
}

// Pick implements chooser.
func (p *prequal) Pick(r pick.Request) (pick.Token, bool) {
	random := draws(r.Random)
	p.receive(r.Now)
	chosen := random.below(len(p.backends))
	if len(p.pool) >= prequalFewest {
		chosen = p.choose(&random)
	}
	for p.removals += prequalRemoved; p.removals >= 1; p.removals-- {
		p.remove()
	}
	p.probe(random.below(len(p.backends)), r.Now)
	return pick.Token{Endpoint: chosen, Start: r.Now}, true
}

// choose uses the best probe. A part of a use is one at random.
func (p *prequal) choose(random *draws) int {
	limit := p.seen.limit
	best := 0
	for i := 1; i < len(p.pool); i++ {
		if p.better(&p.pool[i], &p.pool[best], limit) {
			best = i
		}
	}
	chosen := &p.pool[best]
	backend := chosen.backend
	chosen.inFlight++ // this one
	chosen.used++
	if left := p.uses - chosen.used; left <= 0 || left < 1 && float64(random.Uint64()>>11)/(1<<53) >= left {
		p.drop(best)
	}
	return backend
}

// hot reports whether a backend is to be avoided.
func (p *prequal) hot(one *probe, limit int) bool {
	return one.inFlight > limit || p.success[one.backend] < averse
}

// better reports whether a is a better choice than b.
func (p *prequal) better(a, b *probe, limit int) bool {
	hotA, hotB := p.hot(a, limit), p.hot(b, limit)
	switch {
	case hotA != hotB:
		return hotB
	case hotA:
		return a.inFlight < b.inFlight
	}
	return a.latency < b.latency
}

// remove drops the oldest or the worst probe.
func (p *prequal) remove() {
	if len(p.pool) == 0 {
		return
	}
	at := 0
	if p.worst {
		for i := 1; i < len(p.pool); i++ {
			if p.better(&p.pool[at], &p.pool[i], p.seen.limit) {
				at = i
			}
		}
	}
	p.worst = !p.worst
	p.drop(at)
}

func (p *prequal) drop(i int) { p.pool = append(p.pool[:i], p.pool[i+1:]...) }

// probe asks a backend. What it will have to say is known already: no request that
// is sent later arrives there before the probe.
func (p *prequal) probe(backend int, now time.Duration) {
	inFlight, latency := p.backends[backend].status.probe(now + network)
	p.sent = append(p.sent, probe{now + 2*network, backend, inFlight, latency, 0})
}

// receive moves answers into the pool, and drops those that are too old or too many.
func (p *prequal) receive(now time.Duration) {
	n := 0
	for n < len(p.sent) && p.sent[n].at <= now {
		one := p.sent[n]
		n++
		p.seen.add(one.inFlight)
		for i := range p.pool {
			if p.pool[i].backend == one.backend { // what it said before is not true any more
				p.drop(i)
				break
			}
		}
		if len(p.pool) == p.size {
			p.drop(0)
		}
		p.pool = append(p.pool, one)
	}
	p.sent = append(p.sent[:0], p.sent[n:]...)
	for len(p.pool) > 0 && now-p.pool[0].at > prequalAge {
		p.drop(0)
	}
}

// Answered implements chooser.
func (p *prequal) Answered(t pick.Token, _ time.Duration, _ uprung.Outcome) pick.Token { return t }

// Done implements chooser.
func (p *prequal) Done(t pick.Token, _ time.Duration, outcome uprung.Outcome) {
	good := 1.0
	if outcome == uprung.Failure {
		good = 0
	}
	s := &p.success[t.Endpoint]
	*s += aversionBy * (good - *s)
}

// quantiles keeps the quantile of the requests in flight in the last probes.
type quantiles struct {
	last   [prequalWindow]int
	n      int
	counts [mostFound + 1]int
	// limit is the quantile: what is above it is hot.
	limit int
}

func (q *quantiles) add(inFlight int) {
	inFlight = min(inFlight, mostFound)
	slot := &q.last[q.n%prequalWindow]
	if q.n >= prequalWindow {
		q.counts[*slot]--
	}
	*slot = inFlight
	q.counts[inFlight]++
	q.n++
	rank, seen := int(math.Ceil(prequalQuantile*float64(min(q.n, prequalWindow)))), 0
	for i := range q.counts {
		if seen += q.counts[i]; seen >= rank {
			q.limit = i
			return
		}
	}
}
