package shard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
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
	if _, err := NewMover(t.Context(), onePlan(t), copyNothing, &memory{}, &MoverOptions{Name: "\n"}); err == nil || !strings.Contains(err.Error(), "MoverOptions.Name") {
		t.Errorf("got %v, want one that names MoverOptions.Name", err)
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
	want := "shard: checkpoint belongs to another plan, of 1 range, want one for this plan alone: finish that plan first, from the tables it was made of"
	if _, err := NewMover(t.Context(), other, copyNothing, c, nil); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
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

// A write that does not end, a copy that overruns its part of the pause or panics, and
// a delta that stays large leave the range where it is, and writes wait for the pause at
// most. While the context of Run lives, no error says that it has ended.
func TestMoverRollsBack(t *testing.T) {
	t.Parallel()
	step := onePlan(t).Steps()[0]
	for _, row := range []struct {
		name  string
		held  int
		copy  CopyFunc
		waits time.Duration
		want  string
		is    error
	}{
		{"a write does not end", 1, copyNothing, time.Second / 2, "1 write not released after 500ms", nil},
		{"two writes do not end", 2, copyNothing, time.Second / 2, "2 writes not released after 500ms", nil},
		{"copying ends in time", 0, func(ctx context.Context, p Pass) (int, error) {
			if p.Final {
				<-ctx.Done()
				return 0, fmt.Errorf("range query: %w", ctx.Err())
			}
			return 0, nil
		}, time.Second / 2, "final pass: took more than 500ms: range query: context deadline exceeded", nil},
		{"copying fails late", 0, func(ctx context.Context, p Pass) (int, error) {
			if p.Final {
				<-ctx.Done()
				return 0, errDisk
			}
			return 0, nil
		}, time.Second / 2, "final pass: took more than 500ms: disk error", errDisk},
		{"copying is late", 0, func(_ context.Context, p Pass) (int, error) {
			if p.Final {
				time.Sleep(950 * time.Millisecond)
			}
			return 0, nil
		}, 950 * time.Millisecond, "final pass: took more than 500ms", nil},
		{"copying overruns the pause", 0, func(_ context.Context, p Pass) (int, error) {
			if p.Final {
				time.Sleep(time.Hour)
			}
			return 0, nil
		}, time.Second, "final pass: took more than 500ms", nil},
		{"copying fails", 0, func(_ context.Context, p Pass) (int, error) {
			if p.Final {
				time.Sleep(time.Second / 4)
				return 0, errDisk
			}
			return 0, nil
		}, time.Second / 4, "final pass: disk error", errDisk},
		{"the delta stays large", 0, func(context.Context, Pass) (int, error) { return 101, nil }, 0,
			"more than 100 keys changed in each of 100 rounds", nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := mustMover(t, row.copy, &memory{}, &MoverOptions{Attempts: 1})
				for range row.held {
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
				want := fmt.Sprintf("shard: 1 of 1 range not done in 1 attempt, lastly: move %v: %s", step, row.want)
				if err := <-result; err == nil || err.Error() != want || row.is != nil && !errors.Is(err, row.is) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Run() = %v, want %s", err, want)
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
		} else if got := strings.Count(err.Error(), "shard: "); got != 1 {
			t.Errorf("Run() = %v, which says %d times where it is from", err, got)
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

// slowSave is a checkpoint that takes its time, unless the context ends.
type slowSave struct {
	memory
	takes time.Duration
}

func (c *slowSave) Save(ctx context.Context, state []byte) error {
	if err := sleep(ctx, c.takes); err != nil {
		return err
	}
	return c.memory.Save(ctx, state)
}

// What is slow, though not too slow, costs no write its answer.
func TestMoverRefusesNothingWhileAllIsWell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := mustMover(t, func(_ context.Context, p Pass) (int, error) {
			if p.Final {
				time.Sleep(490 * time.Millisecond)
			}
			return 0, nil
		}, &slowSave{takes: 490 * time.Millisecond}, nil)
		result := make(chan error, 1)
		go func() { result <- m.Run(t.Context()) }()
		time.Sleep(500 * time.Millisecond) // the first Save is over
		if home, _, err := m.Write(t.Context(), 1); home != "b" || err != nil {
			t.Errorf("Write() = %q, %v, want b", home, err)
		}
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// A switch that is being saved is finished although ctx ends.
func TestMoverFinishesTheSwitchThatItSaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := mustMover(t, copyNothing, &slowSave{takes: 100 * time.Millisecond}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		err := m.Run(ctx)
		if home, _, writeErr := m.Write(t.Context(), 1); home != "b" || writeErr != nil {
			t.Errorf("Run() = %v, Write() = %q, %v, want b", err, home, writeErr)
		}
	})
}

// A checkpoint that cannot be saved is noticed before anything else is done.
func TestMoverSavesFirst(t *testing.T) {
	t.Parallel()
	c := &memory{}
	m := mustMover(t, func(context.Context, Pass) (int, error) {
		t.Error("a range was copied")
		return 0, nil
	}, c, nil)
	c.err = errDisk
	if err := m.Run(t.Context()); !errors.Is(err, errDisk) || err.Error() != "shard: save the checkpoint: disk error" {
		t.Errorf("Run() = %v, want the error of Save", err)
	}
	if got := m.Progress().Rollbacks; got != 0 {
		t.Errorf("%d pauses, want none", got)
	}
}

// A Save that takes too long has not ended the context of Run.
func TestMoverTellsItsLimitsFromTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		err := mustMover(t, copyNothing, &slowSave{takes: time.Hour}, nil).Run(t.Context())
		if want := "shard: save the checkpoint: took more than 1s: context deadline exceeded"; err == nil || err.Error() != want || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run() = %v, want %s", err, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		err = mustMover(t, copyNothing, &slowSave{takes: time.Hour}, nil).Run(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Run() = %v, want its deadline", err)
		}
	})
}

// When ctx ends, the error says so, whatever Run was about to do.
func TestMoverStops(t *testing.T) {
	t.Parallel()
	ended := errors.New("a cause that is not shown")
	for _, row := range []struct {
		name string
		held bool
		copy CopyFunc
		want string
	}{
		{"waiting for a write", true, copyNothing, "context canceled"},
		{"in the final pass", false, func(_ context.Context, p Pass) (int, error) {
			if p.Final {
				time.Sleep(time.Second / 4)
			}
			return 0, nil
		}, "final pass: context canceled"},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := mustMover(t, row.copy, &memory{}, nil)
			if row.held {
				_, release, err := m.Write(t.Context(), 1)
				if err != nil {
					t.Fatal(err)
				}
				defer release()
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			result := make(chan error, 1)
			go func() { result <- m.Run(ctx) }()
			time.Sleep(time.Second / 5)
			cancel(ended)
			want := fmt.Sprintf("shard: stopped: move %v: %s", m.plan.Steps()[0], row.want)
			if err := <-result; !errors.Is(err, context.Canceled) || err.Error() != want {
				t.Errorf("%s: Run() = %v, want %s", row.name, err, want)
			}
			if home, _, err := m.Write(t.Context(), 1); home != "a" || err != nil {
				t.Errorf("%s: Write() = %q, %v, want a", row.name, home, err)
			}
		})
	}
}

// panickyCheckpoint panics when it is given a range that is cleaned.
type panickyCheckpoint struct {
	memory
	calm bool
}

func (c *panickyCheckpoint) Save(ctx context.Context, state []byte) error {
	if !c.calm && state[len(state)-9] == 'c' {
		panic("save")
	}
	return c.memory.Save(ctx, state)
}

func TestMoverCleansAgainAfterAPanicOfSave(t *testing.T) {
	t.Parallel()
	c, cleaned := &panickyCheckpoint{}, 0
	m := mustMover(t, copyNothing, c, &MoverOptions{Cleanup: func(context.Context, Step) error {
		cleaned++
		return nil
	}})
	func() {
		defer func() {
			if got := recover(); got != "save" {
				t.Errorf("recovered %v, want the panic of Save", got)
			}
		}()
		_ = m.Run(t.Context())
	}()
	if p := m.Progress(); p.Switched != 1 || p.Cleaned != 0 {
		t.Errorf("after the panic: %+v, want it switched and not cleaned", p)
	}
	c.calm = true
	if err := m.Run(t.Context()); err != nil || cleaned != 2 || m.Progress().Cleaned != 1 {
		t.Errorf("Run() = %v, cleaned %d times, %+v, want it cleaned again", err, cleaned, m.Progress())
	}
}

func TestMoverMetrics(t *testing.T) {
	t.Parallel()
	m := mustMover(t, copyNothing, &memory{}, &MoverOptions{Name: "users", Cleanup: func(context.Context, Step) error { return nil }})
	check := func(want map[string]float64) {
		t.Helper()
		got := make(map[string]float64)
		for metric := range m.Metrics {
			if len(metric.Labels) != 1 || metric.Labels[0] != (uprung.Label{Name: "mover", Value: "users"}) {
				t.Errorf("%s has labels %v", metric.Name, metric.Labels)
			}
			got[metric.Name] = metric.Value
		}
		delete(got, "uprung_shard_longest_pause_seconds")
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	want := map[string]float64{
		"uprung_shard_move_ranges": 1, "uprung_shard_switched_ranges": 0, "uprung_shard_cleaned_ranges": 0,
		"uprung_shard_switched_hashes_ratio": 0, "uprung_shard_paused_ranges": 0, "uprung_shard_rollbacks_total": 0,
	}
	check(want)
	if err := m.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want["uprung_shard_switched_ranges"], want["uprung_shard_cleaned_ranges"], want["uprung_shard_switched_hashes_ratio"] = 1, 1, 1
	check(want)
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
		early, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := m.Run(early); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 read not released after 1s") {
			t.Errorf("Run() = %v, want its deadline, and the read that is left", err)
		}
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
