package lb

import (
	"math"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

const (
	peakDecay   = 10 * time.Second // Finagle's default
	peakUnknown = math.MaxFloat64 / 2
)

// peakEWMA is the load metric of Finagle's p2cPeakEwma: a moving average of response
// times that rises at once to every one that is above it, decays while nothing is
// seen, and is multiplied by the requests in progress and one. Of two different
// endpoints that with the lower one is taken. It does not look at outcomes.
type peakEWMA struct{ endpoints []peakEndpoint }

type peakEndpoint struct {
	cost    float64 // nanoseconds
	seen    time.Duration
	pending int
}

func newPeakEWMA(backends []*backend) (chooser, error) {
	return &peakEWMA{make([]peakEndpoint, len(backends))}, nil
}

func (e *peakEndpoint) observe(took, now time.Duration) {
	w := math.Exp(-float64(max(0, now-e.seen)) / float64(peakDecay))
	e.seen = now
	if rtt := float64(took); rtt > e.cost {
		e.cost = rtt
	} else {
		e.cost = e.cost*w + rtt*(1-w)
	}
}

func (e *peakEndpoint) load(now time.Duration) float64 {
	e.observe(0, now)
	if e.cost == 0 && e.pending > 0 {
		return peakUnknown + float64(e.pending)
	}
	return e.cost * float64(e.pending+1)
}

func (p *peakEWMA) Pick(r pick.Request) (pick.Token, bool) {
	random := draws(r.Random)
	a, b := random.pair(len(p.endpoints))
	if p.endpoints[b].load(r.Now) < p.endpoints[a].load(r.Now) {
		a = b
	}
	p.endpoints[a].pending++
	return pick.Token{Endpoint: a, Start: r.Now}, true
}

func (p *peakEWMA) Answered(t pick.Token, _ time.Duration, _ uprung.Outcome) pick.Token { return t }

func (p *peakEWMA) Done(t pick.Token, now time.Duration, _ uprung.Outcome) {
	e := &p.endpoints[t.Endpoint]
	e.pending--
	e.observe(now-t.Start, now)
}
