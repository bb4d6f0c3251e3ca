package cache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// ErrLoadTimeout is returned to those who wait for a load that takes longer than
// [Options].LoadTimeout. It matches [context.DeadlineExceeded].
var ErrLoadTimeout error = loadTimeoutError{}

type loadTimeoutError struct{}

func (loadTimeoutError) Error() string { return "cache: load timed out" }

func (loadTimeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// PanicError is returned to those who waited for a load that panicked, but for the one who
// began it: there the panic goes on.
type PanicError struct {
	// Value is what the loader panicked with. Nil means that it ended its goroutine, by
	// [runtime.Goexit], which is an error for everybody.
	Value any
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return "cache: loader ended its goroutine"
	}
	return fmt.Sprintf("cache: loader panicked: %v", e.Value)
}

// call is a load in progress.
type call[V any] struct {
	done    chan struct{}   // closed when result and err are there
	expired <-chan struct{} // closed when the context of the load ends
	stop    *stopper
	result  result[V]
	stored  bool // the result is of the store
	err     error

	sequence uint64 // of the invalidation of tags, when it began

	force   bool // whatever the store has
	waiters int  // guarded by the mutex of the shard
	keep    bool // it goes on without waiters; guarded by the mutex of the shard
	ahead   bool // nobody asked for it; guarded by the mutex of the shard
	void    bool // the result is not to be kept; guarded by the mutex of the shard
}

// newCall registers a call. It is called under the mutex of the shard.
func (s *shard[K, V]) newCall(key K, expired <-chan struct{}, stop *stopper) *call[V] {
	cl := &call[V]{done: make(chan struct{}), expired: expired, stop: stop}
	if s.calls == nil {
		s.calls = make(map[K]*call[V])
	}
	s.calls[key] = cl
	return cl
}

// join returns the load of a key that is in progress, or nil. One whose time is up, and
// which goes on regardless, is left to itself. It is called under the mutex of the shard.
func (s *shard[K, V]) join(key K) *call[V] {
	cl := s.calls[key]
	if cl == nil {
		return nil
	}
	select {
	case <-cl.done:
	case <-cl.expired:
		s.overtake(key)
	default:
		return cl
	}
	return nil
}

// stopper ends the context of a load, which may be that of several calls: when all of
// them were given up.
type stopper struct {
	cancel context.CancelCauseFunc
	wanted atomic.Int64 // calls that somebody still waits for
}

func (s *stopper) want() { s.wanted.Add(1) }

func (s *stopper) giveUp() {
	if s.wanted.Add(-1) == 0 {
		s.cancel(context.Canceled)
	}
}

// GetOrLoad returns the value of a key from memory or the store, and otherwise loads it,
// once for all who ask for it at that time; with a [Leaser], once in all processes.
//
// Each waits for as long as its own ctx lasts. The load goes on as long as one waits. Its
// error is returned as it is, and remembered if it matches [ErrNotFound]; see
// [Options].StaleIfError for what is served instead of others. A panic of the loader goes
// on in the goroutine of the caller who began the load, and is a [*PanicError] to the
// others. A value that was invalidated or set while it was loaded is returned to those who
// waited, who had asked before, and is not kept.
func (c *Cache[K, V]) GetOrLoad(ctx context.Context, key K, load Loader[K, V]) (V, error) {
	hash := c.hash(key)
	s := c.shard(hash)
	if n := c.lookup(s, hash, key); c.simple(n) {
		c.counts.add(memoryHit)
		return c.out(n.value), nil
	}
	return c.getOrLoad(ctx, s, hash, key, load)
}

// getOrLoad is GetOrLoad of what needs a closer look.
func (c *Cache[K, V]) getOrLoad(ctx context.Context, s *shard[K, V], hash uint64, key K, load Loader[K, V]) (value V, err error) {
	s.mu.Lock()
	now := c.now()
	n := s.values.index.find(hash, key)
	if c.fresh(n, now) {
		if now >= n.look {
			c.refreshAhead(ctx, s, n, load)
		}
		s.mu.Unlock()
		c.counts.add(memoryHit)
		return c.out(n.value), nil
	}
	if c.fresh(s.absent.index.find(hash, key), now) {
		s.mu.Unlock()
		c.counts.add(negativeHit)
		return value, ErrNotFound
	}
	if n != nil && (n.gone(now) || c.void(n)) {
		n = nil // from here on it is a stale value that may be served
	}
	cl, leads := s.join(key), false
	if cl == nil {
		if ctx.Err() != nil { // nobody would wait for it
			s.mu.Unlock()
			c.counts.add(miss)
			return value, ctx.Err()
		}
		if cl, err = c.start(ctx, s, hash, key, load, false); err != nil {
			s.mu.Unlock()
			c.counts.add(miss)
			return value, err
		}
		leads = true
	}
	cl.waiters++
	joined := c.voids.now()
	s.mu.Unlock()
	value, err = c.wait(ctx, s, key, cl, n, leads)
	if err == nil && joined > cl.sequence && c.overtaken(key, value, cl.sequence) {
		return c.getOrLoad(ctx, s, hash, key, load) // its tag had been invalidated before it was joined
	}
	return value, err
}

// overtaken reports whether a tag of a value was invalidated after an invalidation.
func (c *Cache[K, V]) overtaken(key K, value V, sequence uint64) bool {
	n := node[K, V]{key: key}
	c.tag(&n, &result[V]{value: value}, sequence)
	return c.void(&n)
}

// wait waits for a call, or for what ends the waiting before.
func (c *Cache[K, V]) wait(ctx context.Context, s *shard[K, V], key K, cl *call[V], stale *node[K, V], leads bool) (value V, err error) {
	var soft <-chan time.Time
	if stale != nil && c.o.LoadSoftTimeout > 0 {
		timer := time.NewTimer(c.o.LoadSoftTimeout)
		defer timer.Stop()
		soft = timer.C
	}
	select {
	case <-cl.done:
		err = cl.err
	case <-ctx.Done():
		c.leave(s, key, cl, false)
		c.counts.add(miss)
		return value, ctx.Err()
	case <-soft:
		c.leave(s, key, cl, true)
		c.counts.add(staleHit)
		return c.out(stale.value), nil
	case <-cl.expired:
		select {
		case <-cl.done: // it ended because it is done
			err = cl.err
		default:
			err = c.abandon(s, key, cl)
		}
	}
	var panicked *PanicError
	switch {
	case err == nil && cl.stored:
		c.counts.add(storeHit)
	case err == nil:
		c.counts.add(miss)
	case leads && errors.As(err, &panicked) && panicked.Value != nil:
		c.counts.add(miss)
		panic(panicked.Value)
	case errors.Is(err, ErrNotFound), stale == nil, stale.gone(c.now()):
		c.counts.add(miss)
		return value, err
	default:
		c.counts.add(staleHit)
		return c.out(stale.value), nil
	}
	return c.out(cl.result.value), nil
}

// leave is called by one who does not wait any more. If it was the last, nobody wants the
// result, unless the load is to go on.
func (c *Cache[K, V]) leave(s *shard[K, V], key K, cl *call[V], keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cl.keep = cl.keep || keep
	if cl.waiters--; cl.waiters == 0 && !cl.keep {
		cl.void = true // what comes after the last has left is as late as it gets
		if s.calls[key] == cl {
			delete(s.calls, key)
		}
		cl.stop.giveUp()
	}
}

// abandon has others load anew: the load has not ended with its context.
func (c *Cache[K, V]) abandon(s *shard[K, V], key K, cl *call[V]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cl.void = true
	if s.calls[key] == cl {
		delete(s.calls, key)
	}
	if c.life.Err() != nil {
		return ErrClosed
	}
	return ErrLoadTimeout
}

// loading returns the context of a load that one who asked with ctx begins.
func (c *Cache[K, V]) loading(ctx context.Context) (context.Context, *stopper, func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	ctx, timeout := context.WithTimeoutCause(ctx, c.o.LoadTimeout, ErrLoadTimeout)
	unhook := context.AfterFunc(c.life, func() { cancel(ErrClosed) })
	return ctx, &stopper{cancel: cancel}, func() {
		unhook()
		timeout()
		cancel(nil)
	}
}

// start begins a load that others may join. It is called under the mutex of the shard.
func (c *Cache[K, V]) start(ctx context.Context, s *shard[K, V], hash uint64, key K, load Loader[K, V], force bool) (*call[V], error) {
	if !c.enter() {
		return nil, ErrClosed
	}
	ctx, stop, end := c.loading(ctx)
	stop.want()
	cl := s.newCall(key, ctx.Done(), stop)
	cl.force, cl.sequence = force, c.voids.now()
	go func() {
		defer c.running.Done()
		defer end()
		defer func() { c.finish(s, hash, key, cl) }() // also if the loader ends the goroutine
		cl.err = &PanicError{}
		defer func() {
			if p := recover(); p != nil {
				cl.err = &PanicError{Value: p}
			}
		}()
		overtaken := func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return cl.void
		}
		cl.result, cl.stored, cl.err = c.fetch(ctx, key, load, force, overtaken)
	}()
	return cl, nil
}

// fetch brings the value of a key from the store, if it is there and that will do, or from
// the loader.
func (c *Cache[K, V]) fetch(ctx context.Context, key K, load Loader[K, V], force bool, overtaken func() bool) (r result[V], stored bool, err error) {
	if c.tier == nil {
		r, err = c.load(ctx, key, load)
		return r, false, err
	}
	return c.tier.fetch(ctx, key, load, force, overtaken)
}

// load calls a loader.
func (c *Cache[K, V]) load(ctx context.Context, key K, load Loader[K, V]) (r result[V], err error) {
	took, err := c.timed(func() (err error) {
		r.value, err = load(ctx, key)
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return result[V]{absent: true}, err
	case err != nil:
		return result[V]{}, err
	}
	r.value, r.loadTime = c.out(r.value), took
	return r, nil
}

// timed calls a loader and counts.
func (c *Cache[K, V]) timed(load func() error) (took time.Duration, err error) {
	c.counts.loads.Add(1)
	start := time.Now()
	err = errors.New("cache: loader did not return")
	defer func() {
		took = max(time.Since(start), 1)
		c.counts.loadTime.Add(int64(took))
		if err != nil && !errors.Is(err, ErrNotFound) {
			c.counts.loadErrors.Add(1)
		}
	}()
	err = load()
	return took, err
}

// retryStale is how long a stale value is served without another try after a load failed.
const retryStale = time.Second

// finish keeps the result of a call and gives it to those who wait.
func (c *Cache[K, V]) finish(s *shard[K, V], hash uint64, key K, cl *call[V]) {
	s.mu.Lock()
	if s.calls[key] == cl {
		delete(s.calls, key)
	}
	if cl.ahead {
		c.refreshes.Add(-1)
	}
	switch {
	case cl.void, cl.result.transient:
		c.counts.overtaken.Add(1)
	case cl.ahead && s.values.index.find(hash, key) == nil: // it was evicted meanwhile
	case cl.err == nil, errors.Is(cl.err, ErrNotFound):
		c.keep(s, hash, key, cl.result, cl.sequence)
	default:
		now := c.now()
		if n := s.values.index.find(hash, key); n != nil && n.more != nil && !n.fresh(now) && !n.gone(now) {
			m := *n.more
			m.fresh = min(addInstant(now, retryStale), m.gone)
			s.put(&node[K, V]{key: key, value: n.value, hash: hash, look: m.fresh, more: &m, weight: n.weight, tagged: n.tagged}, now)
		}
	}
	s.mu.Unlock()
	close(cl.done)
}

// refreshAhead loads a value anew for one who has just been served it. It is called under
// the mutex of the shard.
func (c *Cache[K, V]) refreshAhead(ctx context.Context, s *shard[K, V], n *node[K, V], load Loader[K, V]) {
	if s.join(n.key) != nil {
		return
	}
	if c.refreshes.Add(1) > int64(c.o.MaxRefreshes) {
		c.refreshes.Add(-1)
		c.counts.refreshesDropped.Add(1)
		return
	}
	cl, err := c.start(ctx, s, n.hash, n.key, load, true)
	if err != nil {
		c.refreshes.Add(-1)
		return
	}
	cl.keep, cl.ahead = true, true
	c.counts.refreshes.Add(1)
}

// Refresh loads the value of a key anew, whatever there is, and returns it. It joins a load
// that is in progress. What was there is served to others meanwhile, and stays if the load
// fails.
func (c *Cache[K, V]) Refresh(ctx context.Context, key K, load Loader[K, V]) (value V, err error) {
	if ctx.Err() != nil {
		return value, ctx.Err()
	}
	hash := c.hash(key)
	s := c.shard(hash)
	s.mu.Lock()
	cl, leads := s.join(key), false
	if cl == nil || !cl.force {
		s.overtake(key)
		if cl, err = c.start(ctx, s, hash, key, load, true); err != nil {
			s.mu.Unlock()
			return value, err
		}
		leads = true
	}
	cl.waiters++
	s.mu.Unlock()
	return c.wait(ctx, s, key, cl, nil, leads)
}
