package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Step is a part of a [Scenario]: faults for a time.
type Step struct {
	// Name is for the log, and need not be set.
	Name string
	// For is how long the step takes.
	For time.Duration
	// Faults are injected meanwhile. Without any, the step is a pause.
	Faults []Fault
}

// Scenario is a list of faults over time, such as of a game day.
type Scenario []Step

// Duration returns how long all steps take.
func (s Scenario) Duration() time.Duration {
	sum := time.Duration(0)
	for _, step := range s {
		sum += step.For
	}
	return sum
}

// validate returns an error for each step that is not valid.
func (s Scenario) validate(most time.Duration) error {
	var errs []error
	if len(s) == 0 {
		errs = append(errs, errors.New("chaos: the scenario is empty, want steps"))
	}
	for at, step := range s {
		if step.For <= 0 {
			errs = append(errs, fmt.Errorf("chaos: steps[%d].For is %v, want > 0", at, step.For))
		}
	}
	if sum := s.Duration(); sum > most {
		errs = append(errs, fmt.Errorf("chaos: the steps take %v, want at most %v, which is MaxArmed", sum, most))
	}
	return errors.Join(errs...)
}

// Run plays a scenario: it arms the injector for each step in turn, with the faults of
// that, and returns nil once all are over. It returns the reason if the context ends or
// the injector is disarmed meanwhile, [ErrArmed] if it is armed already, and an error that
// names every step that is not valid before any of them has begun. What one step holds is
// let go when the next begins. When it returns, the injector is disarmed and has the faults
// that it had, unless another has armed it or set others meanwhile.
func (i *Injector) Run(ctx context.Context, s Scenario) error {
	errs := []error{s.validate(i.o.MaxArmed)}
	for at, step := range s {
		if _, err := New(step.Faults, nil); err != nil {
			errs = append(errs, fmt.Errorf("chaos: steps[%d]: %w", at, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var mine *armed
	var before, set *faults
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if mine != nil && i.armed.Load() == mine {
			i.disarm()
		}
		if set != nil && i.set.Load() == set { // nobody else has changed them
			i.set.Store(before)
		}
	}()
	left := s.Duration()
	for at, step := range s {
		next, err := compile(step.Faults)
		if err != nil {
			return err
		}
		i.mu.Lock()
		switch now := i.armed.Load(); {
		case at == 0 && now != nil:
			err = ErrArmed
		case at > 0 && now != mine:
			err = ErrDisarmed
		case at == 0:
			before = i.set.Load()
			fallthrough
		default:
			if err = i.install(next); err == nil {
				i.disarm() // which frees what the step before still holds
				set, mine = next, i.arm(left+grace)
			}
		}
		i.mu.Unlock()
		if err != nil {
			return err
		}
		i.log("a step of chaos begins", slog.Int("step", at+1), slog.String("step_name", step.Name), slog.Duration("duration", step.For))
		left -= step.For
		timer := time.NewTimer(step.For)
		select {
		case <-timer.C:
		case <-mine.done:
			timer.Stop()
			return ErrDisarmed
		case <-ctx.Done():
			timer.Stop()
			return why(ctx)
		}
	}
	return nil
}

// ErrDisarmed is returned by [Injector.Run] if the injector was disarmed meanwhile, or
// armed anew by another.
var ErrDisarmed = errors.New("chaos: the injector was disarmed")

// grace is by how much an injector stays armed longer than a scenario should take, so
// that a late timer does not end the last step as a kill would.
const grace = time.Minute
