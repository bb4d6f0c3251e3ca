package retry

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/uprung/uprung"
)

// errLost is the cause of the end of an attempt that another has outrun.
var errLost = errors.New("retry: another attempt was faster")

// race is between an attempt, on the goroutine of the request, and its hedge, on that
// of a timer.
type race struct {
	c     *call
	ended chan struct{} // closed when the hedge has finished

	mu       sync.Mutex              // guards all that follows
	first    context.CancelCauseFunc // ends the attempt
	second   context.CancelCauseFunc // ends the hedge
	running  bool                    // the hedge was sent
	finished bool                    // and has the result below
	settled  bool                    // it is decided whose result counts

	resp     *http.Response
	err      error
	won      bool // the result is good
	panicked any
}

// hedge sends the request, and again if no answer has come in the time in which nearly
// all do. The first good answer counts; a bad one does not end the wait for the other.
func (c *call) hedge() (*http.Response, error) {
	r := c.t.retrier
	begun := r.now()
	race := &race{c: c, ended: make(chan struct{})}
	defer race.settle(true) // also of a panic
	c.sent++
	number := c.sent
	if delay, known := r.times.quantile(begun, r.o.HedgeAt); known {
		timer := time.AfterFunc(delay, func() { race.launch(number + 1) })
		defer timer.Stop()
	}
	resp, err := c.try(number, func(cancel context.CancelCauseFunc) {
		race.mu.Lock()
		defer race.mu.Unlock()
		if race.first = cancel; race.won {
			cancel(errLost) // before it has begun
		}
	})
	r.overloaded(resp, err)
	good := judge(c.ctx, resp, err) == final
	hedged, pending := race.settle(good)
	if pending {
		select {
		case <-race.ended:
		case <-c.ctx.Done():
		}
		hedged, _ = race.settle(c.ctx.Err() != nil)
	}
	if race.running { // which nobody changes once it is settled
		c.sent++
	}
	if good || hedged && race.won { // which the attempt would have exceeded
		now := r.now()
		r.times.record(now, now-begun)
	}
	if !hedged {
		return resp, err
	}
	discard(resp)
	if race.panicked != nil {
		panic(race.panicked)
	}
	if race.won {
		r.count.hedgesWon.Add(1)
	}
	return race.resp, race.err
}

// settle decides whose result counts, the attempt's or its hedge's, and gives up the
// other; or that there is to be a wait, for a hedge that is still running while the
// attempt has no final result.
func (r *race) settle(final bool) (hedged, pending bool) {
	r.mu.Lock()
	settled, loser := r.settled, r.resp
	switch {
	case settled:
	case r.finished && (r.won || !final):
		r.settled, hedged = true, true
	case r.running && !r.finished && !final:
		pending = true
	default:
		r.settled = true
		if r.second != nil && !r.finished {
			r.second(errLost)
		}
	}
	r.mu.Unlock()
	if !settled && !hedged && !pending {
		discard(loser)
	}
	return hedged, pending
}

// launch sends the hedge, unless it is too late or there is no budget for it.
func (r *race) launch(number int) {
	c, retrier := r.c, r.c.t.retrier
	r.mu.Lock()
	running := !r.settled && retrier.mayHedge(c.request.URL.Host)
	if running {
		r.running = true
	}
	r.mu.Unlock()
	if !running {
		return
	}
	resp, panicked, err := r.try(number)
	r.mu.Lock()
	settled := r.settled
	if !settled {
		r.resp, r.err, r.panicked = resp, err, panicked
		r.won = panicked == nil && err == nil && judge(c.ctx, resp, err) == final
		r.finished = true
		close(r.ended)
		if r.won && r.first != nil {
			r.first(errLost)
		}
	}
	r.mu.Unlock()
	if settled {
		discard(resp)
	}
}

// try sends the hedge. What panics is kept for the goroutine of the request.
func (r *race) try(number int) (resp *http.Response, panicked any, err error) {
	defer func() { panicked = recover() }()
	resp, err = r.c.try(number, func(cancel context.CancelCauseFunc) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.second = cancel
		if r.settled {
			cancel(errLost)
		}
	})
	r.c.t.retrier.overloaded(resp, err)
	return resp, nil, err
}

// overloaded notes an answer of [uprung.Overload]. While there are some, there are no
// hedges: a service that has too much to do is slow because of what it is asked for, and
// more of it makes that worse.
func (r *Retrier) overloaded(resp *http.Response, err error) {
	if err == nil && uprung.ResponseOutcome(resp.StatusCode, resp.Header) == uprung.Overload {
		r.times.overload(r.now())
	}
}

// mayHedge takes what a hedge costs.
func (r *Retrier) mayHedge(key string) bool {
	now := r.now()
	if !r.hedges.take(now) {
		return false
	}
	if !r.budget.take(now) {
		r.hedges.give()
		return false
	}
	if !r.Mode().Enforces(key) {
		r.count.shadowed.Add(1)
		return false
	}
	r.count.hedges.Add(1)
	return true
}
