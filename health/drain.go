package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"
)

// shutdownGrace is how long functions that shut down may take after their context
// has ended. One that honours it needs a moment to clean up.
const shutdownGrace = time.Second

var errShutdownHangs = errors.New("health: a function that shuts down did not return when its context ended")

// Drain takes the program out of service: readiness fails at once, then it waits
// for RegistryOptions.DrainWait so that no balancer sends another request, and then
// it calls all of shutdown at one time, with ctx, and returns their errors, joined.
// [net/http.Server.Shutdown] fits as it is.
//
// If ctx ends while it waits, it goes on at once and says so in the error. A
// function that does not return within a second after ctx has ended is left to
// itself, so that Drain ends too. If one panics, the others are awaited and the
// panic goes on in the caller; likewise if it calls [runtime.Goexit].
//
// There is no way back. Drain can be called again: it waits for what is left of the
// same wait, and calls the functions it is given.
func (r *Registry) Drain(ctx context.Context, shutdown ...func(context.Context) error) error {
	r.drainOnce.Do(func() {
		r.drainEnd = time.Now().Add(r.o.DrainWait)
		close(r.draining)
		if r.o.Logger != nil {
			r.o.Logger.LogAttrs(ctx, slog.LevelInfo, "drain began",
				slog.String("registry", r.o.Name), slog.Duration("drain_wait", r.o.DrainWait))
		}
	})
	cut := r.waitToDrain(ctx)
	s := &shuttingDown{ended: make(chan struct{}), errs: make([]error, len(shutdown))}
	for i, f := range shutdown {
		s.running.Go(func() { s.call(ctx, i, f) })
	}
	go func() {
		s.running.Wait()
		close(s.ended)
	}()
	return errors.Join(cut, s.wait(ctx))
}

// waitToDrain waits until the balancers have had their time.
func (r *Registry) waitToDrain(ctx context.Context) error {
	left := time.NewTimer(time.Until(r.drainEnd))
	defer left.Stop()
	select {
	case <-left.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("health: drain was cut short: %w", ctx.Err())
	}
}

// Draining reports whether Drain was called.
func (r *Registry) Draining() bool {
	select {
	case <-r.draining:
		return true
	default:
		return false
	}
}

// DrainStarted returns a channel that is closed when Drain is first called. Handlers
// that stream for long end by it: Shutdown waits for them.
func (r *Registry) DrainStarted() <-chan struct{} { return r.draining }

// shuttingDown is what the functions of one Drain share.
type shuttingDown struct {
	running sync.WaitGroup
	ended   chan struct{} // closed when all have returned

	mu     sync.Mutex
	errs   []error // in the order of the functions; guarded by mu
	abort  bool    // one did not return; guarded by mu
	thrown any     // the value of its panic, nil if it called Goexit; guarded by mu
}

// call calls one of the functions and keeps its result.
func (s *shuttingDown) call(ctx context.Context, i int, f func(context.Context) error) {
	returned := false
	var err error
	defer func() {
		var thrown any
		if !returned {
			thrown = recover()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.errs[i] = err
		if !returned && !s.abort {
			s.abort, s.thrown = true, thrown
		}
	}()
	err = f(ctx)
	returned = true
}

// wait waits until all have returned, or have had their time.
func (s *shuttingDown) wait(ctx context.Context) error {
	hangs := error(nil)
	select {
	case <-s.ended:
	case <-ctx.Done():
		grace := time.NewTimer(shutdownGrace)
		defer grace.Stop()
		select {
		case <-s.ended:
		case <-grace.C:
			hangs = fmt.Errorf("%w: %w", errShutdownHangs, ctx.Err())
		}
	}
	s.mu.Lock()
	errs, abort, thrown := append(slices.Clone(s.errs), hangs), s.abort, s.thrown
	s.mu.Unlock()
	switch {
	case thrown != nil:
		panic(thrown)
	case abort:
		runtime.Goexit()
	}
	return errors.Join(errs...)
}
