package health

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewRegistryNamesEverythingWrong(t *testing.T) {
	t.Parallel()
	_, err := NewRegistry([]Check{
		{Name: "a", Probe: passing},
		{Name: "a", Informative: true, Live: true, Timeout: -1},
		{Name: "b\n", Probe: passing, Informative: true, Startup: true},
	}, &RegistryOptions{Name: "ä"})
	want := []string{
		`RegistryOptions.Name is "ä", want 1 to 64 printable ASCII characters`,
		"checks[1].Probe is nil, want a function",
		"checks[1].Informative is set, want it without Live and Startup",
		"checks[1].Timeout is -1ns, want >= 0",
		`checks[1].Name is "a", want one that no other check has, and checks[0] has it`,
		`checks[2].Name is "b\n", want 1 to 64 printable ASCII characters without a colon`,
		"checks[2].Informative is set, want it without Live and Startup",
	}
	if got := "health: " + strings.Join(want, "\nhealth: "); err == nil || err.Error() != got {
		t.Errorf("error\n%v\nwant\n%s", err, got)
	}
}

func TestReadiness(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, nil, Check{Name: "a", Probe: passing}, Check{Name: "b", Probe: failing, Informative: true})
		if err := r.Readiness(t.Context()); err != nil {
			t.Errorf("Readiness() = %v, want nil: what is informative gates nothing", err)
		}
		r = newRegistry(t, nil, Check{Name: "a", Probe: passing}, Check{Name: "b", Probe: failing})
		err := r.Readiness(t.Context())
		if !errors.Is(err, ErrFailing) || !errors.Is(err, errDown) || !strings.Contains(err.Error(), `health: check "b": down`) {
			t.Errorf("Readiness() = %v, want that b fails", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(time.Minute)
		if err := r.Readiness(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrFailing) {
			t.Errorf("Readiness() = %v, want that the context has ended", err)
		}
		synctest.Wait()
		_ = newRegistry(t, &RegistryOptions{DrainWait: -1}).Drain(t.Context())
		go func() { _ = r.Drain(t.Context()) }()
		synctest.Wait()
		if err := r.Readiness(t.Context()); !errors.Is(err, ErrDraining) {
			t.Errorf("Readiness() = %v, want %v", err, ErrDraining)
		}
	})
}

// A drain that begins while checks run is not overlooked by them.
func TestReadinessSeesADrainThatBeginsMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, &RegistryOptions{DrainWait: -1}, Check{Name: "a", Probe: func(context.Context) error {
			time.Sleep(time.Second / 2)
			return nil
		}})
		result := make(chan error)
		go func() { result <- r.Readiness(t.Context()) }()
		synctest.Wait()
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, ErrDraining) {
			t.Errorf("Readiness() = %v, want %v", err, ErrDraining)
		}
	})
}

func TestChecksRunAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		slow := func(context.Context) error {
			time.Sleep(time.Second / 2)
			return nil
		}
		r := newRegistry(t, nil, Check{Name: "a", Probe: slow}, Check{Name: "b", Probe: slow}, Check{Name: "c", Probe: slow})
		start := time.Now()
		if err := r.Readiness(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Second/2 {
			t.Errorf("three checks of 0.5s took %v", took)
		}
	})
}

func TestTTL(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ttl   time.Duration
		calls int64 // in ten seconds, asked each 100 ms
	}{{"default", 0, 10}, {"none", -1, 100}, {"long", time.Minute, 1}} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var calls atomic.Int64
				r := newRegistry(t, nil, Check{Name: "a", TTL: tt.ttl, Probe: func(context.Context) error {
					calls.Add(1)
					return errDown
				}})
				for range 100 {
					if err := r.Readiness(t.Context()); !errors.Is(err, errDown) {
						t.Fatalf("Readiness() = %v, want %v, from memory too", err, errDown)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if calls.Load() != tt.calls {
					t.Errorf("%d calls, want %d", calls.Load(), tt.calls)
				}
			})
		})
	}
}

func TestCheckThatPanicsHasFailedForAll(t *testing.T) {
	for name, probe := range map[string]func(){"panicked: oops": func() { panic("oops") }, "ended its goroutine": goexit} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRegistry(t, nil, Check{Name: "a", Probe: func(context.Context) error {
					time.Sleep(time.Millisecond)
					probe()
					return nil
				}})
				results := make(chan error, 5)
				for range 5 {
					go func() { results <- r.Readiness(t.Context()) }()
				}
				for range 5 {
					if err := <-results; !errors.Is(err, ErrFailing) || !strings.Contains(err.Error(), name) {
						t.Errorf("Readiness() = %v, want that the check %s", err, name)
					}
				}
			})
		})
	}
}

func TestCheckThatIgnoresItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls atomic.Int64
		release := make(chan struct{})
		r := newRegistry(t, nil, Check{Name: "a", Timeout: 300 * time.Millisecond, Probe: func(context.Context) error {
			calls.Add(1)
			<-release
			return nil
		}})
		start := time.Now()
		for i := range 10 {
			if err := r.Readiness(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrFailing) {
				t.Errorf("Readiness() = %v, want that the check timed out", err)
			}
			if took := time.Since(start); i == 0 && took != 300*time.Millisecond {
				t.Errorf("it took %v to find out, want 300ms", took)
			}
			time.Sleep(2 * time.Second)
		}
		if calls.Load() != 1 {
			t.Errorf("%d calls while the first had not returned, want 1", calls.Load())
		}
		if s := r.Stats().Checks[0]; s.State != Unhealthy || s.Failed != 0 {
			t.Errorf("Stats() = %+v, want unhealthy by a run that has not ended", s)
		}
		close(release)
		synctest.Wait()
		if err := r.Readiness(t.Context()); err != nil || calls.Load() != 2 {
			t.Errorf("Readiness() = %v after %d calls, want a new one that passes", err, calls.Load())
		}
		if s := r.Stats().Checks[0]; s.Passed != 1 || s.Failed != 1 || s.Time != 300*time.Millisecond {
			t.Errorf("Stats() = %+v, want one run that failed by 300ms and one that passed", s)
		}
	})
}

func TestCheckThatHonoursItsContextTellsWhatItWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, nil, Check{Name: "a", Probe: func(ctx context.Context) error {
			<-ctx.Done()
			return errDown
		}})
		_ = r.Readiness(t.Context())
		synctest.Wait()
		if err := r.Readiness(t.Context()); !errors.Is(err, errDown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Readiness() = %v, want a timeout and %v", err, errDown)
		}
	})
}

// The values of the first caller's context reach the check, its end does not.
func TestCheckContextIsDetached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type key struct{}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "trace"))
		r := newRegistry(t, nil, Check{Name: "a", Probe: func(ctx context.Context) error {
			if ctx.Value(key{}) != "trace" {
				t.Error("the values of the context are lost")
			}
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != DefaultTimeout {
				t.Errorf("deadline in %v, want %v", time.Until(deadline), DefaultTimeout)
			}
			time.Sleep(100 * time.Millisecond)
			return ctx.Err()
		}})
		go func() { _ = r.Readiness(ctx) }()
		synctest.Wait()
		cancel()
		if err := r.Readiness(t.Context()); err != nil {
			t.Errorf("Readiness() = %v, want nil", err)
		}
	})
}

func TestCheckChangesAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		var err error
		r := newRegistry(t, &RegistryOptions{DrainWait: -1, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))}, Check{Name: "a", TTL: -1, Probe: func(context.Context) error { return err }})
		for _, err = range []error{nil, errDown, errDown, nil, nil} {
			_ = r.Readiness(t.Context())
			synctest.Wait()
		}
		_ = r.Drain(t.Context())
		want := `level=WARN msg="result of a health check changed" registry=default check=a from=healthy to=unhealthy error=down
level=INFO msg="result of a health check changed" registry=default check=a from=unhealthy to=healthy
level=INFO msg="drain began" registry=default drain_wait=0s
`
		if log.String() != want {
			t.Errorf("log is\n%swant\n%s", log.String(), want)
		}
	})
}
