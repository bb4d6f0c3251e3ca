package shard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A bubble fails if a goroutine is left in it.

func TestScatterAsksAllAndKeepsTheOrder(t *testing.T) {
	t.Parallel()
	for _, partial := range []Partial{FailFast, CollectAll} {
		for _, concurrency := range []int{0, 1, 3, 100} {
			synctest.Test(t, func(t *testing.T) {
				var running, most atomic.Int64
				entries := valued(20)
				begin := time.Now()
				answers, err := Scatter(t.Context(), entries, &ScatterOptions{Partial: partial, Concurrency: concurrency},
					func(_ context.Context, e Entry[int]) (string, error) {
						now := running.Add(1)
						defer running.Add(-1)
						for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
						}
						time.Sleep(time.Second)
						return fmt.Sprint(e.Value), nil
					})
				if err != nil || len(answers) != len(entries) {
					t.Fatalf("got %d answers, %v, want %d", len(answers), err, len(entries))
				}
				for i, a := range answers {
					if a.Node != entries[i].Node || a.Value != fmt.Sprint(i) || a.Err != nil {
						t.Errorf("answer %d is %+v", i, a)
					}
				}
				atOnce := concurrency
				if atOnce == 0 {
					atOnce = DefaultConcurrency
				}
				atOnce = min(atOnce, 20)
				if got := int(most.Load()); got != atOnce {
					t.Errorf("%d at one time, want %d", got, atOnce)
				}
				rounds := time.Duration((20 + atOnce - 1) / atOnce)
				if got := time.Since(begin); got != rounds*time.Second {
					t.Errorf("took %v, want %v", got, rounds*time.Second)
				}
			})
		}
	}
}

var errBroken = errors.New("broken")

// failing answers after as many seconds as the node's number, unless it is 1.
func failing(ctx context.Context, e Entry[int]) (int, error) {
	if e.Value == 1 {
		time.Sleep(time.Second / 2)
		return 0, errBroken
	}
	select {
	case <-time.After(time.Duration(e.Value) * time.Second):
		return e.Value, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func TestScatterFailFast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		asked := atomic.Int64{}
		answers, err := Scatter(t.Context(), valued(10), &ScatterOptions{Concurrency: 4}, func(ctx context.Context, e Entry[int]) (int, error) {
			asked.Add(1)
			return failing(ctx, e)
		})
		if answers != nil || !errors.Is(err, errBroken) || err.Error() != `shard: node "node-1": broken` {
			t.Errorf("got %v, %v, want nothing, the error of node-1", answers, err)
		}
		if got := time.Since(begin); got != time.Second/2 {
			t.Errorf("took %v, want 500ms", got)
		}
		// 0 was done at once, so that 4 was begun.
		if got := asked.Load(); got != 5 {
			t.Errorf("%d were asked, want 5", got)
		}
	})
}

func TestScatterCollectAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers, err := Scatter(t.Context(), valued(10), &ScatterOptions{Partial: CollectAll, Concurrency: 4}, failing)
		if !errors.Is(err, errBroken) || err.Error() != `shard: node "node-1": broken` {
			t.Errorf("error is %v, want that of node-1", err)
		}
		for i, a := range answers {
			if failed := i == 1; failed != (a.Err != nil) || !failed && a.Value != i {
				t.Errorf("answer %d is %+v", i, a)
			}
		}
	})
}

func TestScatterEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, partial := range []Partial{FailFast, CollectAll} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
			defer cancel()
			begin := time.Now()
			answers, err := Scatter(ctx, valued(10)[2:], &ScatterOptions{Partial: partial, Concurrency: 1}, failing)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v: error is %v, want %v", partial, err, context.DeadlineExceeded)
			}
			if got := time.Since(begin); got != 2500*time.Millisecond {
				t.Errorf("%v: took %v, want 2.5s", partial, got)
			}
			if partial == FailFast {
				return
			}
			for i, a := range answers {
				if done := i == 0; done != (a.Err == nil) || !done && !errors.Is(a.Err, context.DeadlineExceeded) || a.Node.ID == "" {
					t.Errorf("answer %d is %+v", i, a)
				}
			}
		})
	}
}

func TestScatterPassesPanicsOn(t *testing.T) {
	t.Parallel()
	for _, value := range []any{"a value", errBroken, http.ErrAbortHandler} {
		for _, partial := range []Partial{FailFast, CollectAll} {
			synctest.Test(t, func(t *testing.T) {
				var ended atomic.Int64
				defer func() {
					if got := recover(); got != value {
						t.Errorf("recovered %v, want %v", got, value)
					}
					if got := ended.Load(); got != 3 {
						t.Errorf("%d others have ended, want 3", got)
					}
				}()
				_, err := Scatter(t.Context(), valued(8), &ScatterOptions{Partial: partial, Concurrency: 4}, func(ctx context.Context, e Entry[int]) (int, error) {
					if e.Value == 2 {
						time.Sleep(time.Second)
						panic(value)
					}
					<-ctx.Done()
					time.Sleep(time.Second) // to clean up
					ended.Add(1)
					return 0, ctx.Err()
				})
				t.Errorf("Scatter returned %v, want a panic", err)
			})
		}
	}
}

func TestScatterPassesGoexitOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		done, returned := make(chan struct{}), false
		go func() {
			defer close(done)
			_, _ = Scatter(t.Context(), valued(3), nil, func(_ context.Context, e Entry[int]) (int, error) {
				if e.Value == 1 {
					runtime.Goexit()
				}
				return 0, nil
			})
			returned = true
		}()
		<-done
		if returned {
			t.Error("Scatter returned, want its goroutine to end")
		}
	})
}

func TestScatterOptions(t *testing.T) {
	t.Parallel()
	never := func(context.Context, Entry[int]) (int, error) {
		t.Error("a node was asked")
		return 0, nil
	}
	_, err := Scatter(t.Context(), valued(2), &ScatterOptions{Partial: 7, Concurrency: -1}, never)
	for _, want := range []string{"ScatterOptions.Partial is 7", "ScatterOptions.Concurrency is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
	var nobody func(context.Context, Entry[int]) (int, error)
	if _, err := Scatter(t.Context(), valued(2), nil, nobody); err == nil || err.Error() != "shard: ask is nil, want a function" {
		t.Errorf("error is %v, want one that says that ask is nil", err)
	}
	answers, err := Scatter(t.Context(), nil, nil, never)
	if len(answers) != 0 || err != nil {
		t.Errorf("of no entries: %v, %v", answers, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	answers, err = Scatter(ctx, valued(2), &ScatterOptions{Partial: CollectAll}, never)
	if !errors.Is(err, context.Canceled) || slices.ContainsFunc(answers, func(a Answer[int]) bool { return a.Err == nil }) {
		t.Errorf("after the end: %v, %v, want only errors", answers, err)
	}
}
