package cache

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
)

// ManyLoader returns the values of keys from where they come from. A key that is not in
// what it returns has no value: see [ErrNotFound]. Its context is as that of a [Loader].
type ManyLoader[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// GetOrLoadMany returns the values of keys, as GetOrLoad does for each of them, but in one
// load for all that are missing and that nobody else is loading. Keys without a value are
// not in the map. The error is that of the first load that failed: the map then has what
// could be had.
//
// With a [Leaser] the load is of the keys whose lease could be had, and those that
// another process is loading are waited for; if that dies, they are loaded one by one.
func (c *Cache[K, V]) GetOrLoadMany(ctx context.Context, keys []K, load ManyLoader[K, V]) (map[K]V, error) {
	values := make(map[K]V, len(keys))
	var missing []K
	for _, key := range keys {
		if _, ok := values[key]; ok {
			continue
		}
		hash := c.hash(key)
		if n := c.lookup(c.shard(hash), hash, key); c.simple(n) {
			c.counts.add(memoryHit)
			values[key] = c.out(n.value)
		} else {
			missing = append(missing, key)
		}
	}
	if len(missing) == 0 {
		return values, nil
	}
	batch := &batch[K, V]{load: load, calls: make(map[K]*call[V])}
	loading, stop, end := c.loading(ctx)
	batch.expired = loading.Done()
	var waits []*wait[K, V]
	waiting := make(map[K]bool, len(missing))
	for _, key := range missing {
		if waiting[key] {
			continue
		}
		waiting[key] = true
		if w := c.joinBatch(batch, stop, key); w != nil {
			waits = append(waits, w)
		} else if value, ok := c.Get(ctx, key); ok {
			values[key] = value
		}
	}
	switch {
	case len(batch.calls) == 0:
		end()
	case !c.enter():
		end()
		for key, cl := range batch.calls {
			cl.err = ErrClosed
			c.finish(c.shard(c.hash(key)), c.hash(key), key, cl)
		}
	default:
		go func() {
			defer c.running.Done()
			defer end()
			c.runBatch(loading, batch)
		}()
	}
	return values, c.waitAll(ctx, values, waits)
}

// batch is the calls of one load of many keys.
type batch[K comparable, V any] struct {
	load    ManyLoader[K, V]
	calls   map[K]*call[V]
	expired <-chan struct{}
}

// wait is what one caller waits for.
type wait[K comparable, V any] struct {
	key   K
	call  *call[V]
	stale *node[K, V]
	leads bool
}

// joinBatch joins the load of a key that is in progress, or makes it part of a batch. It
// returns nil if the key needs no load after all.
func (c *Cache[K, V]) joinBatch(b *batch[K, V], stop *stopper, key K) *wait[K, V] {
	hash := c.hash(key)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := c.now()
	n := s.values.index.find(hash, key)
	if c.fresh(n, now) || c.fresh(s.absent.index.find(hash, key), now) {
		return nil
	}
	w := &wait[K, V]{key: key}
	if n != nil && !n.gone(now) && !c.void(n) {
		w.stale = n
	}
	if w.call = s.join(key); w.call == nil || w.call.sequence != c.voids.now() {
		s.overtake(key)
		w.call, w.leads = s.newCall(key, b.expired, stop), true
		w.call.sequence = c.voids.now()
		stop.want()
		b.calls[key] = w.call
	}
	w.call.waiters++
	return w
}

// waitAll waits for all calls. If one panics here, the others are left first.
func (c *Cache[K, V]) waitAll(ctx context.Context, values map[K]V, waits []*wait[K, V]) (err error) {
	waited := 0
	defer func() {
		for _, w := range waits[waited:] {
			c.leave(c.shard(c.hash(w.key)), w.key, w.call, false)
		}
	}()
	for _, w := range waits {
		waited++
		value, werr := c.wait(ctx, c.shard(c.hash(w.key)), w.key, w.call, w.stale, w.leads)
		switch {
		case werr == nil:
			values[w.key] = value
		case err == nil && !errors.Is(werr, ErrNotFound):
			err = werr
		}
	}
	return err
}

// runBatch does what the goroutine of a call does, for all calls of a batch.
func (c *Cache[K, V]) runBatch(ctx context.Context, b *batch[K, V]) {
	left := maps.Clone(b.calls)
	finish := func(key K, r result[V], stored bool, err error) {
		cl := left[key]
		delete(left, key)
		cl.result, cl.stored, cl.err = r, stored, err
		hash := c.hash(key)
		c.finish(c.shard(hash), hash, key, cl)
	}
	var failed error = &PanicError{}
	defer func() {
		for key := range left {
			finish(key, result[V]{}, false, failed)
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			failed = &PanicError{Value: p}
		}
	}()
	keys := slices.Collect(maps.Keys(b.calls))
	if c.tier == nil {
		failed = c.loadMany(ctx, keys, b.load, finish)
		return
	}
	failed = c.tier.fetchMany(ctx, b, keys, finish)
}

// loadMany calls a loader and finishes what it has an answer for: all keys, or none if it
// fails.
func (c *Cache[K, V]) loadMany(ctx context.Context, keys []K, load ManyLoader[K, V], finish func(K, result[V], bool, error)) error {
	results, err := c.loadResults(ctx, keys, load)
	if err != nil {
		return err
	}
	for key, r := range results {
		finish(key, *r, false, r.err())
	}
	return nil
}

// err is the error of a load with this result.
func (r *result[V]) err() error {
	if r.absent {
		return ErrNotFound
	}
	return nil
}

// loadResults calls a loader for many keys.
func (c *Cache[K, V]) loadResults(ctx context.Context, keys []K, load ManyLoader[K, V]) (map[K]*result[V], error) {
	var values map[K]V
	took, err := c.timed(func() (err error) {
		values, err = load(ctx, keys)
		return err
	})
	if err != nil {
		return nil, err
	}
	results := make(map[K]*result[V], len(keys))
	for _, key := range keys {
		r := &result[V]{absent: true}
		if value, ok := values[key]; ok {
			r = &result[V]{value: c.out(value), loadTime: took}
		}
		results[key] = r
	}
	return results, nil
}

// parallelLeases is how many leases are asked for at a time.
const parallelLeases = 16

// parallel calls a function for each of many keys, for some at a time.
func parallel[K any](keys []K, call func(K)) {
	var all sync.WaitGroup
	places := make(chan struct{}, parallelLeases)
	for _, key := range keys {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			call(key)
		})
	}
	all.Wait()
}

// fetchMany is fetch for the calls of a batch. It finishes those it has an answer for, and
// returns the error of the rest.
func (t *tier[K, V]) fetchMany(ctx context.Context, b *batch[K, V], keys []K, finish func(K, result[V], bool, error)) error {
	g, err := t.begin(ctx)
	if err != nil {
		return t.c.loadMany(ctx, keys, b.load, finish)
	}
	stored := make([]string, len(keys))
	for i, key := range keys {
		stored[i] = t.key(key)
	}
	items, err := t.many(ctx, stored...)
	if err != nil {
		return t.c.loadMany(ctx, keys, b.load, finish)
	}
	var missing []K
	for i, key := range keys {
		if f := t.read(ctx, g, key, items[i]); f.ok {
			finish(key, f.result, true, f.err())
		} else {
			missing = append(missing, key)
		}
	}
	switch {
	case len(missing) == 0:
		return nil
	case t.leaser != nil:
		return t.fetchManyLeased(ctx, g, b, missing, finish)
	}
	results, err := t.c.loadResults(ctx, missing, b.load)
	if err != nil {
		return err
	}
	t.fillMany(ctx, g, b, results)
	for key, r := range results {
		finish(key, *r, false, r.err())
	}
	return nil
}

// fillMany is fill for many keys.
func (t *tier[K, V]) fillMany(ctx context.Context, g generations, b *batch[K, V], results map[K]*result[V]) {
	overtaken := func(key K) bool {
		s := t.c.shard(t.c.hash(key))
		s.mu.Lock()
		defer s.mu.Unlock()
		return b.calls[key].void
	}
	var entries []StoreEntry
	var written []K
	for key, r := range results {
		value, ttl, err := t.write(ctx, g, key, *r)
		if errors.Is(err, errOvertaken) {
			r.transient = true
		}
		if err == nil && ttl >= 0 && !overtaken(key) {
			entries = append(entries, StoreEntry{t.key(key), value, ttl})
			written = append(written, key)
		}
	}
	_ = t.do(ctx, func(ctx context.Context) error {
		if t.batcher != nil {
			return t.batcher.SetMany(ctx, entries)
		}
		for _, e := range entries {
			if err := t.store.Set(ctx, e.Key, e.Value, e.TTL); err != nil {
				return err
			}
		}
		return nil
	})
	for i, key := range written {
		if overtaken(key) {
			if t.delete(ctx, entries[i].Key) != nil {
				t.debts.owe(entries[i].Key)
			}
		}
	}
}

// fetchManyLeased loads what it has the leases of, and then waits for the rest.
func (t *tier[K, V]) fetchManyLeased(ctx context.Context, g generations, b *batch[K, V], keys []K, finish func(K, result[V], bool, error)) error {
	var mu sync.Mutex
	tokens := make(map[K]string)
	parallel(keys, func(key K) {
		var l Lease
		err := t.do(ctx, func(ctx context.Context) (err error) {
			l, err = t.leaser.Lease(ctx, t.key(key), t.c.o.Lease)
			return err
		})
		if err == nil && l.Token != "" {
			mu.Lock()
			tokens[key] = l.Token
			mu.Unlock()
		}
	})
	published := make(map[K]bool)
	defer func() { // also if the loader panics
		parallel(slices.Collect(maps.Keys(tokens)), func(key K) {
			if !published[key] {
				_ = t.do(context.WithoutCancel(ctx), func(ctx context.Context) error {
					return t.leaser.Release(ctx, t.key(key), tokens[key])
				})
			}
		})
	}()
	leased := slices.Collect(maps.Keys(tokens))
	if len(leased) > 0 {
		var stops []func()
		for key, token := range tokens {
			stops = append(stops, t.renew(ctx, t.key(key), token))
		}
		stop := func() {
			for _, stop := range stops {
				stop()
			}
		}
		defer stop()
		results, err := t.c.loadResults(ctx, leased, b.load)
		stop()
		if err != nil {
			return err
		}
		parallel(leased, func(key K) {
			done := t.publishLeased(ctx, g, key, tokens[key], results[key])
			mu.Lock()
			published[key] = done
			mu.Unlock()
		})
		for key, r := range results {
			finish(key, *r, false, r.err())
		}
	}
	// The rest is loaded by others, who may be done by now, or have died.
	one := func(ctx context.Context, key K) (value V, err error) {
		values, err := b.load(ctx, []K{key})
		value, ok := values[key]
		if err == nil && !ok {
			err = ErrNotFound
		}
		return value, err
	}
	rest := slices.DeleteFunc(slices.Clone(keys), func(key K) bool { return tokens[key] != "" })
	for _, key := range rest {
		r, stored, err := t.fetchLeased(ctx, g, key, one, false)
		finish(key, r, stored, err)
	}
	return nil
}
