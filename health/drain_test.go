package health

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDrainWaitsAndShutsDownAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, nil)
		start := time.Now()
		errOne, errTwo := errors.New("one"), errors.New("two")
		takes := func(d time.Duration, err error) func(context.Context) error {
			return func(context.Context) error {
				if began := time.Since(start); began != DefaultDrainWait {
					t.Errorf("a shutdown began after %v, want %v", began, DefaultDrainWait)
				}
				time.Sleep(d)
				return err
			}
		}
		err := r.Drain(t.Context(), takes(2*time.Second, errTwo), takes(3*time.Second, nil), takes(time.Second, errOne))
		if !errors.Is(err, errOne) || !errors.Is(err, errTwo) || err.Error() != "two\none" {
			t.Errorf("Drain() = %q, want both errors, in the order of the functions", err)
		}
		if took := time.Since(start); took != 8*time.Second {
			t.Errorf("Drain took %v, want 8s", took)
		}
	})
}

func TestDrainIsIdempotent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, nil)
		if r.Draining() {
			t.Error("Draining() before")
		}
		select {
		case <-r.DrainStarted():
			t.Error("DrainStarted() is closed before")
		default:
		}
		start := time.Now()
		var calls atomic.Int64
		shutdown := func(context.Context) error { calls.Add(1); return nil }
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second)
				if err := r.Drain(t.Context(), shutdown); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took != DefaultDrainWait {
					t.Errorf("Drain ended after %v, want %v", took, DefaultDrainWait)
				}
			})
		}
		synctest.Wait()
		<-r.DrainStarted()
		all.Wait()
		if err := r.Drain(t.Context(), shutdown); err != nil || time.Since(start) != DefaultDrainWait {
			t.Errorf("another Drain: %v after %v, want at once", err, time.Since(start))
		}
		if calls.Load() != 4 || !r.Draining() {
			t.Errorf("%d calls, draining %v, want 4 and true", calls.Load(), r.Draining())
		}
	})
}

func TestDrainGoesOnWhenItsContextEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		called := false
		err := r.Drain(ctx, func(ctx context.Context) error { called = true; return ctx.Err() })
		if took := time.Since(start); took != time.Second || !called || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain() = %v after %v, shutdown called %v, want it called after 1s", err, took, called)
		}
	})
}

func TestDrainLeavesBehindWhatHangs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, &RegistryOptions{DrainWait: -1})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		release := make(chan struct{})
		err := r.Drain(ctx, func(context.Context) error { <-release; return nil }, func(context.Context) error { return errDown })
		if took := time.Since(start); took != 11*time.Second {
			t.Errorf("Drain took %v, want 10s and a second", took)
		}
		if !errors.Is(err, errShutdownHangs) || !errors.Is(err, errDown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Drain() = %v, want all that went wrong", err)
		}
		close(release)
	})
}

func TestDrainReraises(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, &RegistryOptions{DrainWait: -1})
		others := false
		thrown := func() (value any) {
			defer func() { value = recover() }()
			_ = r.Drain(t.Context(),
				func(context.Context) error { panic("oops") },
				func(context.Context) error { time.Sleep(time.Second); others = true; return nil })
			return nil
		}()
		if thrown != "oops" || !others {
			t.Errorf("the caller sees %v, the others ended %v, want oops after them", thrown, others)
		}
		ended := make(chan bool)
		go func() {
			returned := false
			defer func() { ended <- returned }()
			_ = r.Drain(t.Context(), func(context.Context) error { goexit(); return nil })
			returned = true
		}()
		if <-ended {
			t.Error("Drain returned from a Goexit")
		}
	})
}
