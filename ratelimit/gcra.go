package ratelimit

import (
	"fmt"

	"github.com/uprung/uprung"
)

// The generic cell rate algorithm (ITU-T I.371, annex A, virtual scheduling)
// keeps one instant for each key, the theoretical arrival time: when the bucket
// will be full again. What it lies in the future is the debt of the key, and n
// events fit if the debt and their cost together do not exceed the capacity of
// the bucket. It grants exactly what a token bucket of the same rate and burst
// grants.

// call is what a caller asks of a limiter and, once decided, the answer. It is
// one struct, filled in where it stands, because the copies of two cost as much
// as the decision.
type call struct {
	hash uint64
	key  string
	now  int64 // ticks
	n    int64 // events
	// patience is how many ticks the caller would wait for its events. They are
	// charged at once, and the answer says how long to wait.
	patience int64
	upTo     bool // fewer than n are welcome
	keyless  bool // for the bucket that requests without a key share
	dry      bool // decide, but charge nothing

	ok       bool
	shadowed bool
	granted  int64 // events
	charge   int64 // ticks, or events of a sliding window
	debt     int64 // ticks, before the charge; events of a sliding window, after it
	reset    int64 // ticks until a sliding window has forgotten all
	wait     int64 // ticks until the events may be used or asked for again; never if negative
	settings *settings
	budget   budget // that of the settings, or the key's own
	own      bool
}

// weigh fills in the answer for a key with the given state, and returns the
// state after it: the same if nothing is charged.
func (c *call) weigh(state int64) int64 {
	b := &c.budget
	if b.window != 0 {
		return c.weighWindow(state)
	}
	start := max(state, c.now)
	c.debt = start - c.now
	c.ok, c.granted, c.charge, c.wait = false, 0, 0, -1
	if c.n <= b.burst {
		c.wait = max(c.debt+b.costOf(c.n)-b.capacity, 0)
	}
	switch {
	case c.n == 0:
		c.ok, c.wait = true, 0
	case c.wait >= 0 && c.wait <= c.patience:
		c.ok, c.granted, c.charge = true, c.n, b.costOf(c.n)
	case c.upTo:
		if fit := b.fit(c.debt); fit > 0 {
			c.ok, c.granted, c.charge, c.wait = true, fit, b.costOf(fit), 0
		} else {
			c.wait = c.debt + b.cost - b.capacity // until one fits
		}
	}
	if c.dry {
		c.charge = 0
	}
	if c.charge == 0 {
		return state
	}
	return start + c.charge
}

// decide takes what c asks for, applies the mode and counts the decision.
func (l *Limiter) decide(c *call) error {
	if err := l.settle(c); err != nil {
		return err
	}
	l.count(c)
	return nil
}

// settle takes what c asks for and applies the mode. With quick, it is the one
// place in which keys are charged.
func (l *Limiter) settle(c *call) error {
	if c.n < 0 {
		l.failed.Add(1)
		return fmt.Errorf("ratelimit: cost is %d events, want >= 0", c.n)
	}
	if err := l.findOwn(c); err != nil {
		l.failed.Add(1)
		if l.load().mode.Enforces(c.key) {
			return err
		}
		c.settings = l.load()
		c.budget = c.settings.budget // what does not enforce stops nobody
		c.ok, c.shadowed, c.granted = true, c.settings.mode != uprung.Off, c.n
		return nil
	}
	first, second := l.table.homes(c.hash)
	for {
		c.settings = l.load()
		if !c.own {
			c.budget = c.settings.budget
		}
		c.debt, c.charge, c.reset, c.shadowed = 0, 0, 0, false // of an attempt that came to nothing
		switch {
		case c.settings.mode == uprung.Off || c.budget.always():
			c.ok, c.granted, c.wait = true, c.n, 0
			return nil
		case c.budget.cost == 0:
			c.ok, c.granted, c.wait = c.n == 0, 0, -1
		case !l.charge(c, first, second):
			continue
		}
		if c.granted < c.n && !c.settings.mode.Enforces(c.key) {
			c.ok, c.shadowed, c.granted, c.wait = true, true, c.n, 0
		}
		return nil
	}
}

// count counts the decision on c.
func (l *Limiter) count(c *call) {
	if c.n == 0 || c.settings.mode == uprung.Off || c.budget.always() {
		return
	}
	s := l.table.stripe(l.table.home(c.hash))
	switch {
	case c.shadowed:
		s.shadow.Add(1)
	case c.ok:
		s.granted.Add(1)
	default:
		s.denied.Add(1)
	}
}

// quick decides what [Limiter.settle] would, for the case that matters most: a
// key in its first bucket, a limit for all keys, enforced. It is the same
// algorithm without the intermediate struct, which takes a third off the time of
// a decision. It returns the charge, zero if n events are denied, and where to
// count the decision; or nil, with nothing done, in every other case.
func (l *Limiter) quick(hash uint64, now, n int64) (charge int64, counters *stripe) {
	s := l.settings.Load()
	if s == nil || !s.plain || n <= 0 || n > s.budget.burst {
		return 0, nil
	}
	home := l.table.home(hash)
	slot := l.table.buckets[home].find(hash)
	if slot == nil {
		return 0, nil
	}
	tat := slot.state.Load()
	if tat == inTransition || slot.key.Load() != hash || l.settings.Load() != s {
		return 0, nil
	}
	start, cost := max(tat, now), s.budget.cost
	if n != 1 {
		cost = s.budget.costOf(n)
	}
	if start-now > s.budget.capacity-cost {
		return 0, l.table.stripe(home)
	}
	if !slot.state.CompareAndSwap(tat, start+cost) || slot.key.Load() != hash {
		return 0, nil
	}
	return cost, l.table.stripe(home)
}

// findOwn compiles the limit that LimitFor gives to the key of c, if it does.
func (l *Limiter) findOwn(c *call) (err error) {
	if l.limitFor == nil || c.keyless {
		return nil
	}
	limit, ok := l.limitFor(c.key)
	if !ok {
		return nil
	}
	if c.budget, err = limit.budget(l.algorithm); err == nil {
		err = l.samePeriod(limit, &c.budget)
	}
	if err != nil {
		return fmt.Errorf("ratelimit: LimitFor: %w", err)
	}
	c.own = true
	return nil
}

// charge decides and, without a lock if the key is known, takes. It returns
// false if something changed under it: then nothing is decided.
func (l *Limiter) charge(c *call, first, second uint64) bool {
	s := l.table.find(c.hash, first, second)
	if s == nil {
		return l.admit(c, first, second)
	}
	state := s.state.Load()
	if state == inTransition {
		return l.admit(c, first, second) // which waits for the transition to end
	}
	if s.key.Load() != c.hash || l.settings.Load() != c.settings {
		return false
	}
	next := c.weigh(state)
	return next == state || s.state.CompareAndSwap(state, next) && s.key.Load() == c.hash
}

// admit decides for a key that is not in the table, and puts it in if it is
// charged.
func (l *Limiter) admit(c *call, first, second uint64) bool {
	l.table.lock(first, second)
	defer l.table.unlock(first, second)
	// SetLimit unsets the settings first and then needs these locks, so that what
	// is inserted here is still to be rescaled if it must be.
	if l.settings.Load() != c.settings || l.table.find(c.hash, first, second) != nil {
		return false
	}
	next := c.weigh(c.budget.fresh(c.now))
	if c.charge > 0 {
		l.table.insert(c.hash, first, second, next, c.budget.idle(c.now))
	}
	return true
}

// take decides and says where the key stands.
func (l *Limiter) take(c *call) (Result, error) {
	if err := l.decide(c); err != nil {
		return Result{}, err
	}
	res := c.result()
	if !c.ok && c.exceedsBurst() {
		return res, ErrExceedsBurst
	}
	return res, nil
}

// exceedsBurst reports whether c asks for more than can ever be granted by a
// limit that does grant something.
func (c *call) exceedsBurst() bool {
	return !c.upTo && c.n > c.budget.burst && c.budget.burst > 0
}

// result is the answer as callers see it.
func (c *call) result() Result {
	b := &c.budget
	res := Result{Allowed: c.ok, Granted: c.granted, Limit: b.burst, Remaining: b.burst, Shadowed: c.shadowed}
	switch {
	case b.window != 0:
		res.Remaining = max(b.burst-c.debt, 0)
		res.ResetAfter = nanos(c.reset)
	case b.cost != 0:
		debt := c.debt + c.charge
		res.Remaining = b.fit(debt)
		res.ResetAfter = nanos(debt)
	}
	if !c.ok {
		res.RetryAfter = uprung.Never
		if c.wait >= 0 {
			res.RetryAfter = nanos(c.wait)
		}
	}
	return res
}

// refund gives c.n events back.
func (l *Limiter) refund(c *call) error {
	if err := l.findOwn(c); err != nil {
		return err
	}
	for {
		s := l.load()
		if !c.own {
			c.budget = s.budget
		}
		b := &c.budget
		if b.cost == 0 || l.amend(s, c, func(state int64) int64 {
			if b.window != 0 {
				return b.refundWindow(state, c.now, c.n)
			}
			return max(state-b.worth(min(c.n, b.burst)), min(state, c.now))
		}) {
			return nil
		}
	}
}

// undo gives back what c has taken, as far as time has not done so already, and
// unless the limit has changed meanwhile.
func (l *Limiter) undo(c *call) {
	now := l.now()
	full := c.now + c.debt + c.charge // when the key would be full, had it taken no more
	l.amendUnderSameLimit(c, func(state int64) int64 {
		if b := &c.budget; b.window != 0 {
			return b.ungrant(state, now, c.now, c.charge)
		}
		return max(state-min(c.charge, max(full-now, 0)), min(state, now))
	})
}

// amendUnderSameLimit is amend, unless the limit is no longer that of c.
func (l *Limiter) amendUnderSameLimit(c *call, change func(state int64) int64) {
	for {
		s := l.load()
		if s.budget != c.settings.budget || l.amend(s, c, change) {
			return
		}
	}
}

// amend changes the state of the key of c, if it has one, without a decision. It
// returns false if the settings are no longer s: then nothing is done.
func (l *Limiter) amend(s *settings, c *call, change func(state int64) int64) bool {
	first, second := l.table.homes(c.hash)
	for {
		slot := l.table.find(c.hash, first, second)
		if slot == nil {
			return true // as if full
		}
		state := slot.state.Load()
		if state == inTransition {
			l.table.lock(first, second) // waits for the transition to end
			l.table.unlock(first, second)
			continue
		}
		if l.settings.Load() != s {
			return false
		}
		if next := change(state); slot.key.Load() == c.hash && (next == state || slot.state.CompareAndSwap(state, next)) {
			return true
		}
	}
}
