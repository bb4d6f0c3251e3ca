package lb

import (
	"math/rand"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// goZeroPolicy is go-zero's policy in virtual time.
type goZeroPolicy struct {
	*goZero
	now    time.Duration
	random draws
}

func newGoZeroPolicy(backends []*backend) (chooser, error) {
	p := &goZeroPolicy{}
	p.goZero = newGoZero(len(backends), rand.Source64(&p.random), p.clock)
	return p, nil
}

// longAgo is what go-zero adds to its clock, so that the first request of all does
// not seem to follow one at the origin.
const longAgo = 365 * 24 * time.Hour

func (p *goZeroPolicy) clock() time.Duration { return longAgo + p.now }

func (p *goZeroPolicy) Pick(r pick.Request) (pick.Token, bool) {
	p.now, p.random = r.Now, draws(r.Random)
	return pick.Token{Endpoint: p.pick().index, Start: r.Now}, true
}

func (p *goZeroPolicy) Answered(t pick.Token, _ time.Duration, _ uprung.Outcome) pick.Token { return t }

func (p *goZeroPolicy) Done(t pick.Token, now time.Duration, outcome uprung.Outcome) {
	p.now = now
	p.end(p.conns[t.Endpoint], longAgo+t.Start, outcome == uprung.Failure)
}
