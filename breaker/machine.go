package breaker

import (
	"errors"
	"slices"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/uprung/uprung"
)

// This file is all that knows gobreaker, which is the state machine of a breaker that
// is not closed: what opens it, how many probes half-open lets through, and what follows
// from their results. It is called under Breaker.mu alone, and calls nothing of a user.
// What it has not, or has otherwise, is here as well:
//
//   - Its open time is constant. It is set to nothing, and Breaker.openTil says when it
//     is over.
//   - It waits for probes for ever. Those that are out have a lease.
//   - It changes its state when it is asked for it. OnStateChange says what it is.

var (
	errFailed   = errors.New("failed")
	errExcluded = errors.New("excluded")
)

// machine is what a breaker needs that has been open.
type machine struct {
	gate    *gobreaker.TwoStepCircuitBreaker[struct{}]
	state   gobreaker.State
	probes  []*probe // that are out
	since   int64    // when the outage began
	closed  int64    // when it was closed last
	opened  uint64   // how often it has been opened
	expired uint64   // leases

	events     []Event // that have not been delivered
	delivering bool
}

// probe is a call that was let through half-open.
type probe struct {
	done     func(error)
	til      int64 // the end of the lease
	answered bool
	slow     bool
	over     bool
}

// newGate returns a state machine that is closed.
func (m *machine) newGate(probes int) {
	m.state = gobreaker.StateClosed
	m.probes = nil
	m.gate = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:   uint32(probes),
		Timeout:       1,
		ReadyToTrip:   always,
		IsExcluded:    isExcluded,
		OnStateChange: func(_ string, _, to gobreaker.State) { m.state = to },
	})
}

func always(gobreaker.Counts) bool { return true }
func isExcluded(err error) bool    { return err == errExcluded } //nolint:errorlint // it is ours

// verdict is an outcome in the terms of gobreaker.
func verdict(o uprung.Outcome, slow bool) error {
	switch {
	case o == uprung.Ignored, o == uprung.Overload:
		return errExcluded
	case o == uprung.Success && !slow:
		return nil
	}
	return errFailed
}

// lock locks the breaker and makes sure that it has a machine.
func (b *Breaker) lock() *machine {
	b.mu.Lock()
	if b.machine == nil {
		m := &machine{closed: never}
		m.newGate(b.core.o.Probes)
		b.machine = m
	}
	return b.machine
}

// never is before every instant, also when a window is subtracted from it.
const never = -1 << 62

// trip opens the breaker, unless it has changed since word w.
func (b *Breaker) trip(now int64, w uint64, reason Reason) {
	m := b.lock()
	defer b.unlock()
	if b.word.Load() != w {
		return
	}
	if done, err := m.gate.Allow(); err == nil {
		done(errFailed)
	}
	if now-m.closed >= int64(b.core.o.Window) {
		m.since = now
	} // otherwise the last outage was not over
	b.follow(now, reason)
}

// follow makes the state of the breaker that of its machine, while mu is held. If it is
// open, a new open time begins.
func (b *Breaker) follow(now int64, reason Reason) {
	m := b.machine
	b.room.Store(0)
	b.lease.Store(-never)
	switch m.state {
	case gobreaker.StateOpen:
		m.opened++
		m.probes = nil
		open := b.core.openTime(time.Duration(now - m.since))
		b.openTil.Store(now + int64(open))
		b.turn(now, wordOpen, reason, open)
	case gobreaker.StateHalfOpen:
		b.room.Store(int32(b.core.o.Probes))
		b.turn(now, wordHalfOpen, reason, 0)
	case gobreaker.StateClosed:
		m.closed = now
		m.probes = nil
		b.turn(now, wordClosed, reason, 0)
	}
}

// turn begins a generation, while mu is held.
func (b *Breaker) turn(now int64, state uint64, reason Reason, open time.Duration) {
	before := b.word.Load()
	b.inRow.Store(0)
	b.word.Store(before&^stateMask + generation | state)
	// A result that was let in by the old word can be counted just before this or, once
	// in a very long while, after it.
	b.results.clear()
	if b.slow != nil {
		b.slow.clear()
	}
	if from, to := stateOf(before), stateOf(state); from != to {
		b.queue(Event{Name: b.core.o.Name, From: from, To: to, Reason: reason, OpenFor: open, At: b.core.origin.Add(time.Duration(now))})
	}
}

// openTime returns how long the breaker is open after an outage of this duration.
func (c *core) openTime(outage time.Duration) time.Duration {
	open := c.o.OpenFor
	for open < c.o.OpenMax && outage >= 16*open {
		open *= 2
	}
	open = min(open, c.o.OpenMax)
	if c.o.Jitter > 0 {
		open -= time.Duration(c.o.Jitter * c.random() * float64(open))
	}
	return open
}

// admit lets a probe through, or refuses the call. It is called when the breaker is not
// simply closed.
func (b *Breaker) admit(now int64) (Permit, *uprung.Rejection) {
	m := b.lock()
	defer b.unlock()
	b.settle(now)
	w := b.word.Load()
	p := Permit{b: b, word: w, start: now}
	switch w & stateMask {
	case wordClosed, wordForcedClosed:
		return p, nil
	case wordForcedOpen:
		return Permit{}, b.core.forced
	case wordOpen:
		// With a clock that is coarse, gobreaker may not have seen any time pass.
		return Permit{}, b.openRejection(now, w, max(b.openTil.Load(), now+1))
	}
	done, err := m.gate.Allow()
	if err != nil {
		return Permit{}, b.core.probing
	}
	p.probe = &probe{done: done, til: now + int64(b.core.o.ProbeLease)}
	m.probes = append(m.probes, p.probe)
	b.room.Add(-1)
	b.lease.Store(min(b.lease.Load(), p.probe.til))
	return p, nil
}

// settle does what is due at an instant, while mu is held: it ends the open time, and
// leases.
func (b *Breaker) settle(now int64) {
	m := b.machine
	if b.word.Load()&stateMask == wordOpen && now >= b.openTil.Load() {
		if m.gate.State(); m.state == gobreaker.StateHalfOpen {
			b.follow(now, ReasonOpenTimeOver)
		}
	}
	for now >= b.lease.Load() {
		i := slices.IndexFunc(m.probes, func(p *probe) bool { return now >= p.til })
		if i < 0 {
			b.renewLease()
			return
		}
		p := m.probes[i]
		if p.answered {
			b.settleProbe(p, now, uprung.Success, p.slow, ReasonProbesSucceeded)
			continue
		}
		m.expired++
		b.settleProbe(p, now, uprung.Failure, false, ReasonLeaseOver)
	}
}

// renewLease finds the first end of a lease, while mu is held.
func (b *Breaker) renewLease() {
	first := int64(-never)
	for _, p := range b.machine.probes {
		first = min(first, p.til)
	}
	b.lease.Store(first)
}

// answered notes that the answer to a probe has begun.
func (b *Breaker) answered(p *probe, now int64, slow bool) {
	b.lock()
	defer b.unlock()
	if p.over {
		return
	}
	p.answered, p.slow = true, slow
	p.til = now + int64(b.core.o.OpenFor)
	b.renewLease()
}

// probed notes how a probe has ended.
func (b *Breaker) probed(p *probe, now int64, o uprung.Outcome, slow bool) {
	b.lock()
	defer b.unlock()
	b.settle(now) // its lease may be over
	if p.over {
		b.late.Add(1)
		return
	}
	reason := ReasonProbesSucceeded
	if verdict(o, slow) != nil {
		reason = ReasonProbeFailed
	}
	b.settleProbe(p, now, o, slow, reason)
}

// settleProbe ends a probe, while mu is held.
func (b *Breaker) settleProbe(p *probe, now int64, o uprung.Outcome, slow bool, reason Reason) {
	m := b.machine
	i := slices.Index(m.probes, p)
	p.over = true
	if i < 0 { // it is of another generation
		b.late.Add(1)
		return
	}
	m.probes = slices.Delete(m.probes, i, i+1)
	v := verdict(o, slow)
	switch {
	case o == uprung.Ignored:
		b.ignored.Add(1)
	case o == uprung.Overload:
		b.overloads.Add(1)
	default:
		if slow {
			b.slows.Add(1)
		}
		b.results.count(v != nil)
	}
	p.done(v)
	if m.state != gobreaker.StateHalfOpen {
		b.follow(now, reason)
		return
	}
	if v == errExcluded { //nolint:errorlint // it is ours
		b.room.Add(1)
	}
	b.renewLease()
}

// stateAt returns the state at an instant.
func (b *Breaker) stateAt(now int64) State {
	b.lock()
	defer b.unlock()
	b.settle(now)
	return stateOf(b.word.Load())
}

// Force overrides the state, until it is called again: for the bad night, and for tests.
// Whatever it is given, all that the breaker knows is forgotten, and results of calls
// that are in progress do not count. [ForceNone] goes on from closed.
func (b *Breaker) Force(f Force) {
	state := wordClosed
	switch f {
	case ForceOpen:
		state = wordForcedOpen
	case ForceClosed:
		state = wordForcedClosed
	case ForceNone:
	default:
		panic("breaker: Force of a value that is none of its constants")
	}
	m := b.lock()
	defer b.unlock()
	m.newGate(b.core.o.Probes)
	m.closed = never
	b.room.Store(0)
	b.lease.Store(-never)
	b.turn(b.core.now(), state, ReasonForced, 0)
}
