package shard

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// memory is a checkpoint in memory. Saves fail while err is set.
type memory struct {
	state []byte
	err   error
}

func (c *memory) Load(context.Context) ([]byte, error) { return c.state, c.err }

func (c *memory) Save(_ context.Context, state []byte) error {
	if c.err == nil {
		c.state = bytes.Clone(state)
	}
	return c.err
}

func copyNothing(context.Context, Pass) (int, error) { return 0, nil }

// onePlan moves everything from a to b.
func onePlan(tb testing.TB) *Plan {
	tb.Helper()
	plan, err := NewPlan(mustRing(tb, []Node{{ID: "a"}}, nil), mustRing(tb, []Node{{ID: "b"}}, nil))
	if err != nil {
		tb.Fatal(err)
	}
	return plan
}

func mustMover(tb testing.TB, copier CopyFunc, c Checkpoint, o *MoverOptions) *Mover {
	tb.Helper()
	m, err := NewMover(tb.Context(), onePlan(tb), copier, c, o)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestNewMoverNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := NewMover(t.Context(), nil, nil, nil, &MoverOptions{Rounds: -1, Attempts: -2, Pause: -3, Retry: -4})
	want := `shard: plan is nil, want a plan
shard: copier is nil, want a function
shard: checkpoint is nil, want a Checkpoint
shard: MoverOptions.Rounds is -1, want >= 0
shard: MoverOptions.Attempts is -2, want >= 0
shard: MoverOptions.Pause is -3ns, want >= 0
shard: MoverOptions.Retry is -4ns, want >= 0`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	broken := errors.New("broken")
	if _, err := NewMover(t.Context(), onePlan(t), copyNothing, &memory{err: broken}, nil); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of Load", err)
	}
}

func TestMoverRefusesAnotherCheckpoint(t *testing.T) {
	t.Parallel()
	c := &memory{}
	if err := mustMover(t, copyNothing, c, nil).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := NewPlan(mustRing(t, numbered(2), nil), mustRing(t, numbered(3), nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewMover(t.Context(), other, copyNothing, c, nil); err == nil {
		t.Error("a checkpoint of another plan was accepted")
	}
	for i := range c.state {
		damaged := bytes.Clone(c.state)
		damaged[i] ^= 1
		if _, err := NewMover(t.Context(), onePlan(t), copyNothing, &memory{state: damaged}, nil); err == nil {
			t.Errorf("a checkpoint that is damaged at byte %d was accepted", i)
		}
		if _, err := NewMover(t.Context(), onePlan(t), copyNothing, &memory{state: c.state[:i]}, nil); err == nil && i > 0 {
			t.Errorf("a checkpoint of %d bytes was accepted, want %d", i, len(c.state))
		}
	}
}

// A write that does not end, a copy that overruns the pause or panics, and a delta
// that stays large leave the range where it is, and writes wait for the pause at
// most.
func TestMoverRollsBack(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		held  bool
		copy  CopyFunc
		waits time.Duration
		want  error
	}{
		{"a write does not end", true, copyNothing, time.Second, errPauseTooShort},
		{"copying is slow", false, func(_ context.Context, p Pass) (int, error) {
			if p.Final {
				time.Sleep(time.Hour)
			}
			return 0, nil
		}, time.Second, errPauseTooShort},
		{"copying fails", false, func(_ context.Context, p Pass) (int, error) {
			if p.Final {
				time.Sleep(time.Second / 2)
				return 0, errDisk
			}
			return 0, nil
		}, time.Second / 2, errDisk},
		{"the delta stays large", false, func(context.Context, Pass) (int, error) { return 101, nil }, 0, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := mustMover(t, row.copy, &memory{}, &MoverOptions{Attempts: 1})
				if row.held {
					_, release, err := m.Write(t.Context(), 1)
					if err != nil {
						t.Fatal(err)
					}
					defer release()
				}
				result := make(chan error, 1)
				go func() { result <- m.Run(t.Context()) }()
				synctest.Wait()
				began := time.Now()
				home, release, err := m.Write(t.Context(), 1)
				if home != "a" || err != nil {
					t.Fatalf("Write() = %q, %v, want a", home, err)
				}
				release()
				if got := time.Since(began); got != row.waits {
					t.Errorf("the write waited %v, want %v", got, row.waits)
				}
				if err := <-result; err == nil || row.want != nil && !errors.Is(err, row.want) {
					t.Errorf("Run() = %v, want %v", err, row.want)
				}
				if home, release := m.Read(1); home != "a" {
					t.Errorf("Read() = %q, want a", home)
				} else {
					release()
				}
			})
		})
	}
}

func TestMoverResumesWritesAfterAPanic(t *testing.T) {
	t.Parallel()
	m := mustMover(t, func(_ context.Context, p Pass) (int, error) {
		if p.Final {
			panic("copy")
		}
		return 0, nil
	}, &memory{}, nil)
	func() {
		defer func() {
			if got := recover(); got != "copy" {
				t.Errorf("recovered %v, want the panic of the copy", got)
			}
		}()
		_ = m.Run(t.Context())
	}()
	if home, release, err := m.Write(t.Context(), 1); home != "a" || err != nil {
		t.Errorf("Write() = %q, %v, want a", home, err)
	} else {
		release()
	}
}

// While it is not known whether the switch was saved, neither home takes a write.
func TestMoverRefusesWritesUntilTheSwitchIsSaved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &memory{}
		m := mustMover(t, func(_ context.Context, p Pass) (int, error) {
			if p.Final {
				c.err = errDisk
			}
			return 0, nil
		}, c, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		result := make(chan error, 1)
		go func() { result <- m.Run(ctx) }()
		synctest.Wait()
		early, stop := context.WithTimeout(t.Context(), time.Second/2)
		defer stop()
		if _, _, err := m.Write(early, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Write() = %v, want its deadline", err)
		}
		began := time.Now()
		if _, _, err := m.Write(t.Context(), 1); !errors.Is(err, ErrPaused) || time.Since(began) != time.Second/2 {
			t.Errorf("Write() = %v after %v, want ErrPaused at the end of the pause", err, time.Since(began))
		}
		if !m.Progress().Paused {
			t.Error("Progress().Paused = false, want true")
		}
		if err := <-result; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDisk) {
			t.Errorf("Run() = %v, want the deadline and the error of Save", err)
		}
		c.err = nil
		if err := m.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if home, _, err := m.Write(t.Context(), 1); home != "b" || err != nil {
			t.Errorf("Write() = %q, %v, want b", home, err)
		}
	})
}

func TestMoverCleansUpAfterTheLastRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cleaned := false
		m := mustMover(t, copyNothing, &memory{}, &MoverOptions{Cleanup: func(context.Context, Step) error {
			cleaned = true
			return nil
		}})
		_, release := m.Read(1)
		result := make(chan error, 1)
		go func() { result <- m.Run(t.Context()) }()
		time.Sleep(3 * time.Second)
		if p := m.Progress(); cleaned || p.Switched != 1 || p.Cleaned != 0 || p.Share != 1 {
			t.Errorf("with a read left: cleaned %t, %+v, want switched only", cleaned, p)
		}
		if err := m.Run(t.Context()); !errors.Is(err, errRunning) {
			t.Errorf("a second Run() = %v, want %v", err, errRunning)
		}
		release()
		if err := <-result; err != nil || !cleaned {
			t.Errorf("Run() = %v, cleaned %t, want it cleaned", err, cleaned)
		}
		defer func() {
			if recover() == nil {
				t.Error("the second release did not panic")
			}
		}()
		release()
	})
}

func TestMoverRoutesWithoutAllocation(t *testing.T) {
	m := mustMover(t, copyNothing, &memory{}, nil)
	got := testing.AllocsPerRun(1000, func() {
		_, read := m.Read(1)
		_, written, err := m.Write(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		read()
		written()
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}
