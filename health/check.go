package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

var (
	errCheckTimeout = fmt.Errorf("health: check did not answer within its timeout: %w", context.DeadlineExceeded)
	errCheckGoexit  = errors.New("health: check ended its goroutine")
)

// check is a [Check] with its last result. It runs at most once at a time and, for
// whoever asks, at most once in its TTL.
type check struct {
	Check
	changed func(from, to State, err error) // called under no lock
	passed  atomic.Bool                     // has passed once

	mu    sync.Mutex
	run   *checkRun // that has not returned yet; guarded by mu
	last  error     // result of the last run; guarded by mu
	at    time.Time // when last was decided, zero if never; guarded by mu
	stats CheckStats
}

// checkRun is one call of a check's Probe, which any number of callers wait for.
type checkRun struct {
	ended    chan struct{}
	deadline <-chan struct{} // closed when the timeout is over, or later than ended
	err      error           // valid once ended is closed
}

// start returns the run to wait for, or nil if the last result still holds, and then
// its time and that. It begins a run unless there is one, on a context that outlives
// the caller's.
func (c *check) start(ctx context.Context) (r *checkRun, at time.Time, last error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run != nil {
		return c.run, time.Time{}, nil
	}
	if !c.at.IsZero() && time.Since(c.at) < c.TTL {
		return nil, c.at, c.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
	r = &checkRun{ended: make(chan struct{}), deadline: ctx.Done(), err: errCheckGoexit}
	c.run = r
	go func() {
		defer cancel() // after ended is closed
		began := time.Now()
		defer func() {
			if value := recover(); value != nil {
				r.err = fmt.Errorf("health: check panicked: %v", value)
			}
			switch late := ctx.Err() != nil; {
			case late && r.err == nil:
				r.err = errCheckTimeout
			case late:
				r.err = fmt.Errorf("%w: %w", errCheckTimeout, r.err)
			}
			c.finish(r, began)
		}()
		r.err = c.Probe(ctx)
	}()
	return r, time.Time{}, nil
}

// finish keeps the result of a run that has returned. That of a run which took
// longer than its timeout holds from then, and so is likely to be out of date.
func (c *check) finish(r *checkRun, began time.Time) {
	now := time.Now()
	took := min(now.Sub(began), c.Timeout)
	c.mu.Lock()
	c.run, c.last, c.at = nil, r.err, began.Add(took)
	c.stats.Time += took
	if r.err == nil {
		c.stats.Passed++
		c.passed.Store(true)
	} else {
		c.stats.Failed++
	}
	from, to := c.enter(r.err)
	c.mu.Unlock()
	close(r.ended)
	c.tell(from, to, r.err)
}

// enter gives the check the state that follows from a result, while mu is held.
func (c *check) enter(err error) (from, to State) {
	from, to = c.stats.State, Healthy
	if err != nil {
		to = Unhealthy
	}
	c.stats.State = to
	return from, to
}

// tell says that the state has changed, if it has.
func (c *check) tell(from, to State, err error) {
	if from != to {
		c.changed(from, to, err)
	}
}

// wait returns the result of a run, or an error when the timeout of the check or ctx
// is over.
func (c *check) wait(ctx context.Context, r *checkRun) error {
	select {
	case <-r.ended:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	case <-r.deadline:
	}
	select {
	case <-r.ended: // as a check that honours its context has by now, or nearly
		return r.err
	default:
	}
	c.mu.Lock()
	from, to := c.stats.State, c.stats.State
	if c.run == r {
		from, to = c.enter(errCheckTimeout)
	}
	c.mu.Unlock()
	c.tell(from, to, errCheckTimeout)
	return errCheckTimeout
}

// CheckStats are what a [Registry] counted of one check since NewRegistry.
type CheckStats struct {
	// Name is the name of the check.
	Name string
	// State is that of the last result, Unknown if there was none.
	State State
	// Passed and Failed count runs that have ended.
	Passed, Failed uint64
	// Time is the time that all runs took together, each at most its timeout.
	Time time.Duration
}

// snapshot returns what was counted.
func (c *check) snapshot() CheckStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}
