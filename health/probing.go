package health

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var (
	errOverdue = errors.New("health: an earlier probe has not returned yet")
	errGoexit  = errors.New("health: probe ended its goroutine")
)

// probing is one call of a Prober. Nobody has to wait for it: it tells that it has
// ended by closing a channel.
type probing struct {
	ended chan struct{}

	// Valid once ended is closed.
	err  error
	late bool // it ended after its deadline
	took time.Duration
}

// watch probes a target until ctx ends.
func (m *Monitor) watch(ctx context.Context, t *target) {
	timer := time.NewTimer(m.first())
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			m.settle(t.Target)
			return
		}
		due := time.Now()
		m.probe(ctx, t)
		timer.Reset(m.next() - time.Since(due))
	}
}

// settle waits for a probe that is still under way, but not for one that ignores
// its context.
func (m *Monitor) settle(t Target) {
	p := m.underWay(t)
	if p == nil {
		return
	}
	patience := time.NewTimer(m.o.Timeout)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
	}
}

// underWay returns the probe of a target that has not ended, or nil.
func (m *Monitor) underWay(t Target) *probing {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.overdue[t]
}

// probe makes one probe and counts its result, unless ctx ends before.
func (m *Monitor) probe(ctx context.Context, t *target) {
	if m.underWay(t.Target) != nil {
		m.count(t, skipped, errOverdue, 0)
		return
	}
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return
	}
	patience := time.NewTimer(m.o.Timeout)
	defer patience.Stop()
	p := m.begin(ctx, t.Target)
	select {
	case <-p.ended:
		switch {
		case ctx.Err() != nil: // cancelled, which says nothing about the target
		case p.late:
			m.count(t, timedOut, m.timedOut, m.o.Timeout)
		case p.err != nil:
			m.count(t, failed, p.err, p.took)
		default:
			m.count(t, succeeded, nil, p.took)
		}
	case <-patience.C:
		m.count(t, timedOut, m.timedOut, m.o.Timeout)
	case <-ctx.Done():
	}
}

// begin calls the prober in a goroutine of its own, which ends with the call.
func (m *Monitor) begin(ctx context.Context, t Target) *probing {
	p := &probing{ended: make(chan struct{}), err: errGoexit}
	m.mu.Lock()
	m.overdue[t] = p
	m.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(ctx, m.o.Timeout)
		defer cancel()
		began := time.Now()
		defer func() {
			if value := recover(); value != nil {
				p.err = fmt.Errorf("health: probe panicked: %v", value)
			}
			p.late, p.took = errors.Is(ctx.Err(), context.DeadlineExceeded), time.Since(began)
			m.mu.Lock()
			delete(m.overdue, t)
			m.mu.Unlock()
			close(p.ended)
		}()
		p.err = m.prober.Probe(ctx, t.Addr)
	}()
	return p
}

// count counts a result and gives the target the state that follows from it.
func (m *Monitor) count(t *target, result int, err error, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counters.probes[result]++
	m.counters.probing += took
	m.become(t, t.tally().probed(err == nil, m.at), err)
}
