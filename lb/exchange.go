package lb

import (
	"net/http"
	"slices"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/internal/splitmix"
	"github.com/uprung/uprung/lb/pick"
	"github.com/uprung/uprung/shard"
)

// exchange is a request on its way to an endpoint and back.
type exchange struct {
	b         *Balancer
	request   *http.Request
	uploading *upload // of the request's body; nil if it has none
	conns     *conns  // to the endpoint; nil over a base that has its own
	group     *group
	node      *node
	token     pick.Token
	random    uint64
	hash      uint64        // of the key, or a random number too
	now       time.Duration // of the choice, or when the body was sent

	// What the filter of the choice goes by.
	tried  []string
	warmed bool // endpoints in a slow start are as good as all others

	status uprung.Outcome // what the headers say
	whole  bool           // the length of the body is known
}

// choose picks an endpoint for the request. The preference may be nil.
func (e *exchange) choose(p *preference) error {
	b, ctx := e.b, e.request.Context()
	s, now, err := b.ready(ctx)
	if err != nil {
		return err
	}
	e.now = now
	if err := ctx.Err(); err != nil {
		return err
	}
	e.random = b.random()
	e.hash = e.random
	if keyOf := b.o.Key; keyOf != nil {
		if k, ok := keyOf(e.request); ok {
			e.hash = shard.Hash(k)
		}
	}
	attempt := uprung.AttemptOf(ctx)
	if attempt != nil {
		e.tried = attempt.Tried()
	}
	e.warmed = e.now >= s.warm
	found := p != nil && p.id != "" && e.take(s, p.id) || e.pick(s)
	if !found && (len(e.tried) > 0 || !e.warmed) {
		e.tried, e.warmed = nil, true // rather one of these than none
		found = e.pick(s)
	}
	if !found {
		return b.reject(nil)
	}
	e.node = e.group.nodes[e.token.Endpoint]
	e.node.picked.Add(1)
	e.node.inFlight.Add(1)
	if e.group.load != nil {
		e.group.load.inFlight.Add(1)
	}
	if attempt != nil {
		attempt.Try(e.node.ID)
	}
	if p != nil {
		p.chosen = e.node.ID
	}
	return nil
}

// levelStream makes a random number that policies do not draw.
const levelStream = 0x5851f42d4c957f2d

// pick chooses by level, zone and policy.
func (e *exchange) pick(s *snapshot) bool {
	random := splitmix.Mix(e.random ^ levelStream)
	level := 0
	for u := splitmix.Fraction(random); level < len(s.levels)-1 && u >= s.levels[level].upTo; {
		level++
	}
	// If the level has none that is eligible, one of the others may.
	for i := range s.levels {
		l := &s.levels[(level+i)%len(s.levels)]
		groups := [2]*group{l.own, l.other}
		if l.leaves(e.now, e.b.o.ZoneInFlight, splitmix.Fraction(splitmix.Mix(random))) {
			groups[0], groups[1] = l.other, l.own
		}
		for _, g := range groups {
			if g != nil && e.pickFrom(g) {
				if l.own != nil && g != l.own {
					e.b.left.Add(1)
				}
				return true
			}
		}
	}
	return false
}

// pickFrom chooses among the endpoints of a group.
func (e *exchange) pickFrom(g *group) bool {
	e.group = g
	r := pick.Request{Now: e.now, Random: e.random, Hash: e.hash}
	if e.tried != nil || !e.warmed || e.b.o.Eligible != nil {
		r.Filter = e
	}
	var ok bool
	e.token, ok = g.picker.Pick(r)
	return ok
}

// take chooses the endpoint of an ID if it can be picked.
func (e *exchange) take(s *snapshot, id string) bool {
	g, at := s.find(id)
	if g == nil || g.down[at] {
		return false
	}
	e.group = g
	warmed := e.warmed
	e.warmed = true // who is known here has its share already
	refused := e.Refuses(at)
	e.warmed = warmed
	if !refused {
		e.token = g.picker.Take(at, e.now)
	}
	return !refused
}

// Refuses implements [pick.Filter].
func (e *exchange) Refuses(endpoint int) bool {
	n := e.group.nodes[endpoint]
	if slices.Contains(e.tried, n.ID) {
		return true
	}
	if !e.warmed {
		// Another random number for each endpoint, that policies do not draw. One key has
		// the same at each request: once its endpoint is warm enough, it stays there.
		share := e.group.share(n, e.now, e.b.o.SlowStart)
		if share < 1 && splitmix.Fraction(splitmix.Mix(e.hash^n.hash^levelStream)) >= share {
			return true
		}
	}
	return e.b.o.Eligible != nil && !e.b.o.Eligible(n.ID)
}

// failed ends an exchange that has no response, and returns why it has none.
func (e *exchange) failed(err error) error {
	e.sent()
	now := e.b.now()
	outcome := uprung.ErrorOutcome(e.request.Context(), err, now-e.now, e.b.o.Patience)
	if u := e.uploading; u != nil {
		err = u.explain(err)
		if u.lost() {
			outcome = uprung.Ignored
		}
	}
	e.end(now, outcome)
	return err
}

// sent says that nothing is waited for any longer, and returns whether anything was: if
// not, the body of the request was still being sent.
func (e *exchange) sent() bool { return e.uploading == nil || e.uploading.finish() }

// answered notes that the headers are here, and watches the body to its end.
func (e *exchange) answered(resp *http.Response) {
	sent := e.sent()
	now := e.b.now()
	e.status = uprung.ResponseOutcome(resp.StatusCode, resp.Header)
	e.whole = resp.ContentLength >= 0 && resp.StatusCode != http.StatusSwitchingProtocols
	if sent { // otherwise it has no response time
		e.token = e.group.picker.Answered(e.token, now, e.status)
		if e.b.o.Outlier.Slower > 0 && e.status == uprung.Success {
			e.node.outlier.answered(now - e.now)
		}
	}
	httpx.ObserveBody(e.request.Context(), resp, e)
}

// BodyEnded ends the exchange.
func (e *exchange) BodyEnded(err error) {
	now := e.b.now()
	outcome := e.status
	if err != nil && outcome == uprung.Success {
		outcome = uprung.ErrorOutcome(e.request.Context(), err, now-e.now, e.b.o.Patience)
		if outcome == uprung.Failure && !e.whole && e.request.Context().Err() != nil {
			outcome = uprung.Ignored // a stream that its reader left, after however long
		}
	}
	e.end(now, outcome)
}

// end gives back what choose has taken.
func (e *exchange) end(now time.Duration, outcome uprung.Outcome) {
	e.group.picker.Done(e.token, now, outcome)
	if e.group.load != nil {
		e.group.load.ended(now, outcome)
	}
	e.node.ended(outcome)
	e.b.ended[outcome].Add(1)
	if o := &e.b.o.Outlier; o.watches() && e.node.outlier.ended(outcome, o.Consecutive) {
		e.b.failedInRow(e.node, now)
	}
	if e.conns != nil {
		e.conns.released()
	}
}
