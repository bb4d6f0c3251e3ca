package shard

import (
	"context"
	"fmt"
	"sync"
)

// phase is where a range is in its move.
type phase uint8

const (
	stay       phase = iota // at the old home
	pausing                 // as before, and writes wait
	committing              // writes wait, and that it switches is being saved
	stuck                   // writes are refused, and that it switches is being saved
	switched                // at the new home
	cleaned                 // and deleted at the old one
)

// gate lets reads and writes of one range through to its home.
type gate struct {
	readDone, writeDone func() // its methods, bound once

	mu      sync.Mutex
	phase   phase         // guarded by mu
	readers int           // at the old home; guarded by mu
	writers int           // at the old home; guarded by mu
	paused  chan struct{} // closed when the pause ends, nil without one; guarded by mu
	idle    chan struct{} // closed when nobody is left for whom drained waits; guarded by mu
}

func (g *gate) phaseNow() phase {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.phase
}

func (g *gate) set(to phase) {
	g.mu.Lock()
	g.phase = to
	g.mu.Unlock()
}

// read reports whether the range is at its old home, where the read then counts.
func (g *gate) read() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.phase >= switched {
		return false
	}
	g.readers++
	return true
}

// write reports whether the range is at its old home, where the write then counts.
func (g *gate) write(ctx context.Context) (bool, error) {
	for {
		g.mu.Lock()
		at, paused := g.phase, g.paused
		if at == stay {
			g.writers++
		}
		g.mu.Unlock()
		switch at {
		case stay:
			return true, nil
		case stuck:
			return false, ErrPaused
		case switched, cleaned:
			return false, nil
		}
		select {
		case <-paused:
		case <-ctx.Done():
			return false, fmt.Errorf("shard: wait for a range that is paused: %w", ctx.Err())
		}
	}
}

func (g *gate) releaseRead()  { g.release(&g.readers) }
func (g *gate) releaseWrite() { g.release(&g.writers) }

func (g *gate) release(count *int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if *count == 0 {
		panic("shard: release of a Mover called twice")
	}
	*count--
	if g.idle != nil && g.busy() == 0 {
		close(g.idle)
		g.idle = nil
	}
}

// busy returns how many drained waits for: before the switch these are the writes,
// and after it the reads. It is called with mu held.
func (g *gate) busy() int {
	if g.phase >= switched {
		return g.readers
	}
	return g.writers
}

// drained waits until no writes, or after the switch no reads, are at the old home, or
// until ctx ends, and returns how many are left there.
func (g *gate) drained(ctx context.Context) int {
	g.mu.Lock()
	var idle chan struct{}
	if g.busy() > 0 {
		idle = make(chan struct{})
	}
	g.idle = idle
	g.mu.Unlock()
	if idle == nil {
		return 0
	}
	select {
	case <-idle:
		return 0
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.busy()
	}
}

// pause makes writes wait, and returns what identifies this pause.
func (g *gate) pause() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.phase, g.paused = pausing, make(chan struct{})
	return g.paused
}

// resume ends the pause with a phase. It is called with mu held.
func (g *gate) resume(at phase) {
	g.phase = at
	close(g.paused)
	g.paused, g.idle = nil, nil
}

// expire ends a pause, if it has not ended: the range stays at its old home, unless
// that it has switched may have been saved.
func (g *gate) expire(paused chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused != paused {
		return
	}
	if g.phase == committing {
		g.resume(stuck)
	} else {
		g.resume(stay)
	}
}

// commit reports whether the pause still lasts, and if so forbids the way back.
func (g *gate) commit(paused chan struct{}) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused != paused {
		return false
	}
	g.phase = committing
	return true
}

// finish opens the new home.
func (g *gate) finish() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.paused != nil {
		g.resume(switched)
	}
	g.phase = switched
}

// unstick opens the new home if the switch was not known to be saved.
func (g *gate) unstick() {
	if g.phaseNow() == stuck {
		g.finish()
	}
}
