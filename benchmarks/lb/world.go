package lb

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// chooser is the policy of one client: what it needs of a [pick.Picker].
type chooser interface {
	Pick(r pick.Request) (pick.Token, bool)
	Answered(t pick.Token, now time.Duration, outcome uprung.Outcome) pick.Token
	Done(t pick.Token, now time.Duration, outcome uprung.Outcome)
}

// policy makes the policy of one client.
type policy func(backends []*backend) (chooser, error)

// world is a scenario with all that does not depend on a policy.
type world struct {
	scenario
	arrivals []arrival
	speeds   []speeds
}

// newWorld draws everything random of a scenario. Worlds of other numbers are
// others.
func newWorld(s scenario, service func(*rand.Rand) time.Duration, seed uint64, number int) *world {
	w := &world{scenario: s}
	stream := uint64(number)
	for _, c := range s.name() {
		stream = stream*31 + uint64(c)
	}
	random := rand.New(rand.NewPCG(seed, stream))
	for _, r := range s.roles() {
		w.speeds = append(w.speeds, newSpeeds(r, random))
	}
	w.arrivals = s.arrivals(service, random)
	return w
}

// newBackends returns idle backends.
func (w *world) newBackends() []*backend {
	backends := make([]*backend, w.backends)
	for i, r := range w.roles() {
		b := &backend{speeds: w.speeds[i], slowBy: 1}
		switch r {
		case slow:
			b.slowBy = slowBy
		case failing:
			b.from, b.to = w.failing()
		}
		backends[i] = b
	}
	return backends
}

// outcomes is what is counted. All but the first two is of requests that are sent
// after the warming up.
type outcomes struct {
	sent, ended             int
	measured                int
	failed, late            int // with a 500, without an answer in time
	answers                 histogram
	toFailing, whileFailing int // requests sent to the failing backend, and to all, while it fails
}

func newOutcomes() *outcomes { return &outcomes{answers: newHistogram(patience)} }

// client is a caller with a policy of its own, which learns of the end of a request
// before the client sends the next.
type client struct {
	chooser chooser
	pending pending
}

// run simulates a policy and counts what comes of it.
func (w *world) run(p policy, o *outcomes) error {
	backends := w.newBackends()
	clients := make([]client, w.clients)
	for i := range clients {
		one, err := p(backends)
		if err != nil {
			return err
		}
		clients[i].chooser = one
	}
	for i := range w.arrivals {
		a := &w.arrivals[i]
		c := &clients[a.client]
		c.learn(a.at, o)
		token, ok := c.chooser.Pick(pick.Request{Now: a.at, Random: a.random})
		if !ok {
			return fmt.Errorf("request %d is not sent anywhere", i)
		}
		o.sent++
		b := backends[token.Endpoint]
		finish, failed := b.arrive(a.at+network, a.work)
		end := event{at: finish + network, token: token, outcome: uprung.Success}
		switch late := end.at > a.at+patience; {
		case late:
			end.at, end.outcome, end.late, failed = a.at+patience, uprung.Failure, true, false
		case failed:
			end.outcome = uprung.Failure
		}
		c.pending.add(&end)
		if a.at >= w.warmUp {
			o.count(a.at, &end, failed)
		}
		if from, to := w.failing(); w.mixed && a.at+network >= from && a.at+network < to {
			o.whileFailing++
			if b.to > 0 {
				o.toFailing++
			}
		}
	}
	for i := range clients {
		clients[i].learn(forever, o)
	}
	return nil
}

// count counts a request.
func (o *outcomes) count(sent time.Duration, end *event, failed bool) {
	o.measured++
	switch {
	case failed:
		o.failed++
		return
	case end.late:
		o.late++
	}
	o.answers.add(end.at - sent)
}

// learn tells the policy of all that has ended until now.
func (c *client) learn(now time.Duration, o *outcomes) {
	for c.pending.first() <= now {
		end := c.pending.take()
		o.ended++
		if !end.late {
			end.token = c.chooser.Answered(end.token, end.at, end.outcome)
		}
		c.chooser.Done(end.token, end.at, end.outcome)
		if c.pending.empty() {
			return
		}
	}
}
