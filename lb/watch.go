package lb

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Watcher is a [Resolver] that can tell of changes when they happen. [Balancer.Run]
// then watches, and does not ask again from time to time.
type Watcher interface {
	Resolver
	// Watch calls update with what Resolve would return: first with the endpoints of
	// now, and again, with all of them, each time that they change. An error passed to
	// update says that they cannot be told at the moment, and ends nothing. As from
	// Resolve, an error and no endpoints at all leave those found before in place.
	//
	// Watch calls update from its own goroutine and keeps nothing of what it has
	// passed. It returns when ctx ends or it can watch no longer, with the reason; it
	// is called again after a second, and ever later up to Options.Refresh if it keeps
	// failing. It is never called twice at the same time by one balancer, but Resolve
	// may be called while it runs.
	Watch(ctx context.Context, update func([]Endpoint, error)) error
}

// retryWatch is how long it takes at least until a watch that failed begins again,
// halved at random at most.
const retryWatch = time.Second

var errWatchEnded = errors.New("lb: the watch of endpoints ended")

// watch has w tell of changes until ctx ends.
func (b *Balancer) watch(ctx context.Context, w Watcher) {
	for failures := 0; ; failures++ {
		began := time.Now()
		err := b.callWatch(ctx, w)
		if ctx.Err() != nil {
			return
		}
		_ = b.found(ctx, nil, err) // which logs it
		if time.Since(began) >= b.o.Refresh {
			failures = 0
		}
		wait := min(retryWatch<<min(failures, 20), b.o.Refresh)
		timer := time.NewTimer(time.Duration(float64(wait) * (0.5 + 0.5*rand.Float64())))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// callWatch returns why a watch ended, a panic included, as of [Balancer.call].
func (b *Balancer) callWatch(ctx context.Context, w Watcher) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("lb: the resolver panicked: %v", v)
		}
	}()
	err = w.Watch(ctx, func(endpoints []Endpoint, err error) { _ = b.foundAlone(ctx, endpoints, err) })
	if err == nil {
		err = errWatchEnded
	}
	return err
}

// foundAlone takes over endpoints while no call of the resolver is in progress: that
// may have begun before and would replace newer ones with older.
func (b *Balancer) foundAlone(ctx context.Context, endpoints []Endpoint, err error) error {
	select {
	case b.resolving <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.resolving }()
	if ctx.Err() != nil {
		return ctx.Err() // Run has ended as far as anybody can tell
	}
	return b.found(ctx, endpoints, err)
}

// watched is the [Watcher] of a resolver and a function that watches.
type watched struct {
	Resolver
	watch func(ctx context.Context, update func([]Endpoint, error)) error
}

func (w watched) Watch(ctx context.Context, update func([]Endpoint, error)) error {
	return w.watch(ctx, update)
}

// teller calls update unless that would repeat what it was called with before.
type teller struct {
	update    func([]Endpoint, error)
	told      bool
	endpoints []Endpoint
	err       string
}

func (t *teller) tell(endpoints []Endpoint, err error) {
	said := ""
	if err != nil {
		said = err.Error()
	}
	if t.told && said == t.err && slices.Equal(endpoints, t.endpoints) {
		return
	}
	t.told, t.endpoints, t.err = true, endpoints, said
	t.update(slices.Clone(endpoints), err)
}
