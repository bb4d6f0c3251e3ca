package breaker

import (
	"context"
	"log/slog"
	"time"
)

// Reason says why a breaker has changed its state.
type Reason string

// The reasons.
const (
	// ReasonFailures is that too many calls in the window have failed.
	ReasonFailures Reason = "failures"
	// ReasonConsecutive is that too many calls in a row have failed.
	ReasonConsecutive Reason = "consecutive failures"
	// ReasonSlow is that too many calls in the window were slow.
	ReasonSlow Reason = "slow calls"
	// ReasonOpenTimeOver is that it was open for long enough.
	ReasonOpenTimeOver Reason = "open time over"
	// ReasonProbesSucceeded is that all probes have succeeded.
	ReasonProbesSucceeded Reason = "probes succeeded"
	// ReasonProbeFailed is that a probe has failed.
	ReasonProbeFailed Reason = "probe failed"
	// ReasonLeaseOver is that a probe had no answer for too long.
	ReasonLeaseOver Reason = "probe lease over"
	// ReasonForced is that somebody has called Force.
	ReasonForced Reason = "forced"
)

// Event is a change of state.
type Event struct {
	// Name is Options.Name.
	Name string
	// From and To are the states before and after.
	From, To State
	// Reason is why.
	Reason Reason
	// OpenFor is for how long it is open, if it is, and not forced to be.
	OpenFor time.Duration
	// At is when.
	At time.Time
}

// maxEvents bounds those that wait for an OnChange which does not return.
const maxEvents = 1024

// queue adds an event to those to be delivered, while mu is held.
func (b *Breaker) queue(e Event) {
	m := b.machine
	if len(m.events) == maxEvents {
		m.events = m.events[1:]
	}
	m.events = append(m.events, e)
}

// unlock unlocks the breaker and delivers what has happened, unless somebody is doing so
// already: then that one goes on with it.
func (b *Breaker) unlock() {
	m := b.machine
	if len(m.events) == 0 || m.delivering {
		b.mu.Unlock()
		return
	}
	m.delivering = true
	b.mu.Unlock()
	done := false
	defer func() {
		if !done { // a panic of OnChange, which goes on
			b.mu.Lock()
			m.delivering = false
			b.mu.Unlock()
		}
	}()
	for {
		b.mu.Lock()
		if done = len(m.events) == 0; done {
			m.events, m.delivering = nil, false
			b.mu.Unlock()
			return
		}
		e := m.events[0]
		m.events = m.events[1:]
		b.mu.Unlock()
		b.deliver(e)
	}
}

// deliver tells of an event.
func (b *Breaker) deliver(e Event) {
	o := &b.core.o
	o.Logger.LogAttrs(context.Background(), slog.LevelInfo, "breaker changed state",
		slog.String("breaker", e.Name), slog.String("from", e.From.String()), slog.String("to", e.To.String()),
		slog.String("reason", string(e.Reason)), slog.Duration("open_for", e.OpenFor))
	if o.OnChange != nil {
		o.OnChange(e)
	}
	if b.owner != nil {
		b.owner.changed(e)
	}
}
