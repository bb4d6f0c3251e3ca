package shard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Partial says what [Scatter] does when some nodes fail.
type Partial uint8

const (
	// FailFast ends with the first error: the calls that are in progress are
	// cancelled, the others not begun, and there is no result.
	FailFast Partial = iota
	// CollectAll asks every node, whatever others answer. Results and errors are
	// both returned.
	CollectAll
)

// DefaultConcurrency is the number of nodes that [Scatter] asks at one time by
// default.
const DefaultConcurrency = 16

// ScatterOptions are the settings of [Scatter]. The zero value of each field is its
// default.
type ScatterOptions struct {
	// Partial says what to do when some nodes fail. Zero means [FailFast].
	Partial Partial
	// Concurrency is the number of nodes that are asked at one time, at least 1. Zero
	// means [DefaultConcurrency].
	Concurrency int
}

// Answer is what one node has answered.
type Answer[R any] struct {
	Node  Node
	Value R
	Err   error // that of the call, or of the context if the node was not asked
}

// Scatter calls ask for each of entries, which are usually [Map.Entries], several at
// one time, and gathers what they answer, in the order of the entries. Nil options
// are the defaults.
//
// Under [FailFast] it returns all answers, or no answers and the first error. Under
// [CollectAll] it returns an answer for every entry, and the errors of all that
// failed, joined, or nil if none did: whether a part will do is for the caller to
// decide, by the answers whose Err is nil. Errors name the node and match what ask
// returned. When ctx ends, nodes that were not asked yet are not, and count as
// failed with the error of ctx.
//
// Scatter returns when all calls have, and leaves no goroutine behind: ask should
// end when its context does. If a call panics, the others are cancelled and
// awaited, and the panic goes on in the goroutine of the caller with the same value;
// likewise if it calls [runtime.Goexit]. An option that is out of range is an
// error, and so is an ask that is nil: no node is asked then.
func Scatter[T, R any](ctx context.Context, entries []Entry[T], o *ScatterOptions, ask func(context.Context, Entry[T]) (R, error)) ([]Answer[R], error) {
	if o == nil {
		o = &ScatterOptions{}
	}
	err := o.check()
	if ask == nil {
		err = errors.Join(err, errors.New("shard: ask is nil, want a function"))
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g := &gathering{cancel: cancel, fast: o.Partial == FailFast}
	answers := make([]Answer[R], len(entries))
	var wg sync.WaitGroup
	for range min(cmp.Or(o.Concurrency, DefaultConcurrency), len(entries)) {
		wg.Go(func() {
			ended := false
			defer func() {
				if !ended {
					g.aborted(recover())
				}
			}()
			for i := g.next(); i < len(entries); i = g.next() {
				a := &answers[i]
				a.Node = entries[i].Node
				if a.Err = ctx.Err(); a.Err == nil {
					a.Value, a.Err = ask(ctx, entries[i])
				}
				if a.Err != nil {
					a.Err = fmt.Errorf("shard: node %q: %w", a.Node.ID, a.Err)
					g.failed(a.Err)
				}
			}
			ended = true
		})
	}
	wg.Wait()
	g.reraise()
	if g.fast {
		if g.first != nil {
			return nil, g.first
		}
		return answers, nil
	}
	errs := make([]error, len(answers))
	for i := range answers {
		errs[i] = answers[i].Err
	}
	return answers, errors.Join(errs...)
}

// check returns an error that names every field that is out of range.
func (o *ScatterOptions) check() error {
	var errs []error
	if o.Partial > CollectAll {
		errs = append(errs, fmt.Errorf("shard: ScatterOptions.Partial is %d, want FailFast or CollectAll", o.Partial))
	}
	if o.Concurrency < 0 {
		errs = append(errs, fmt.Errorf("shard: ScatterOptions.Concurrency is %d, want >= 0", o.Concurrency))
	}
	return errors.Join(errs...)
}

// gathering is what the goroutines of one Scatter share.
type gathering struct {
	cancel context.CancelFunc
	fast   bool
	begun  atomic.Int64

	mu     sync.Mutex
	first  error // guarded by mu
	abort  bool  // a call did not return; guarded by mu
	thrown any   // the value of its panic, nil if it called Goexit; guarded by mu
}

// next returns the index of the entry that is to be asked next.
func (g *gathering) next() int { return int(g.begun.Add(1) - 1) }

// failed notes an error.
func (g *gathering) failed(err error) {
	g.mu.Lock()
	if g.first == nil {
		g.first = err
	}
	g.mu.Unlock()
	if g.fast {
		g.cancel()
	}
}

// aborted notes that a call did not return. The first is the one to go on.
func (g *gathering) aborted(value any) {
	g.mu.Lock()
	if !g.abort {
		g.abort, g.thrown = true, value
	}
	g.mu.Unlock()
	g.cancel()
}

// reraise lets what a call did happen to the caller. All calls have ended.
func (g *gathering) reraise() {
	switch {
	case g.thrown != nil:
		panic(g.thrown)
	case g.abort:
		runtime.Goexit()
	}
}
