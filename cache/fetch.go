package cache

import (
	"context"
	"errors"
	"time"
)

// mostLeases is how often a value that turns out to be void is deleted, and the lease
// asked for anew, before the value is loaded without a lease.
const mostLeases = 3

// fetch returns the value of a key from the store, or else loads and stores it. Errors of
// the store are nobody's business: the value is then loaded, and not stored.
func (t *tier[K, V]) fetch(ctx context.Context, key K, load Loader[K, V], force bool, overtaken func() bool) (r result[V], stored bool, err error) {
	g, err := t.begin(ctx)
	switch {
	case err != nil:
		r, err = t.c.load(ctx, key, load)
		return r, false, err
	case t.leaser != nil:
		return t.fetchLeased(ctx, g, key, load, force)
	case !force:
		items, err := t.many(ctx, t.key(key))
		if err != nil {
			r, err = t.c.load(ctx, key, load)
			return r, false, err
		}
		if f := t.read(ctx, g, key, items[0]); f.ok {
			return f.result, true, f.err()
		}
	}
	r, err = t.c.load(ctx, key, load)
	if err == nil || errors.Is(err, ErrNotFound) {
		t.fill(ctx, g, key, &r, overtaken)
	}
	return r, false, err
}

// fill stores what was loaded without a lease. If it was overtaken in this process
// meanwhile, it is deleted again.
func (t *tier[K, V]) fill(ctx context.Context, g generations, key K, r *result[V], overtaken func() bool) {
	value, ttl, err := t.write(ctx, g, key, *r)
	if errors.Is(err, errOvertaken) {
		r.transient = true
	}
	if err != nil || ttl < 0 || overtaken() {
		return
	}
	_ = t.setRaw(ctx, t.key(key), value, ttl) // or else it is not stored
	if overtaken() {
		if t.delete(ctx, t.key(key)) != nil {
			t.debts.owe(t.key(key))
		}
	}
}

// fetchLeased is fetch with leases.
func (t *tier[K, V]) fetchLeased(ctx context.Context, g generations, key K, load Loader[K, V], force bool) (r result[V], stored bool, err error) {
	f, token := t.lease(ctx, g, key, force)
	switch {
	case f.ok:
		return f.result, true, f.err()
	case token == "":
		r, err = t.c.load(ctx, key, load)
		return r, false, err
	}
	published := false
	defer func() { // also if the loader panics
		if !published {
			_ = t.do(context.WithoutCancel(ctx), func(ctx context.Context) error {
				return t.leaser.Release(ctx, t.key(key), token)
			}) // or else the lease runs out
		}
	}()
	stop := t.renew(ctx, t.key(key), token)
	defer stop()
	r, err = t.c.load(ctx, key, load)
	stop()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return r, false, err
	}
	published = t.publishLeased(ctx, g, key, token, &r)
	return r, false, err
}

// publishLeased stores what was loaded with a lease, and reports whether the lease is no
// longer held.
func (t *tier[K, V]) publishLeased(ctx context.Context, g generations, key K, token string, r *result[V]) bool {
	value, ttl, err := t.write(ctx, g, key, *r)
	if errors.Is(err, errOvertaken) {
		r.transient = true
	}
	if err != nil || ttl < 0 {
		return false
	}
	stored := false
	err = t.do(ctx, func(ctx context.Context) error {
		stored, err = t.leaser.Publish(ctx, t.key(key), token, value, ttl)
		return err
	})
	if err != nil {
		return false
	}
	r.transient = !stored // the key was deleted or set meanwhile, or another took over
	return true
}

// lease returns the item of a key, the token of its lease, or neither if the store fails.
// It waits for others who have the lease.
func (t *tier[K, V]) lease(ctx context.Context, g generations, key K, force bool) (f found[V], token string) {
	storeKey := t.key(key)
	for range mostLeases {
		if force {
			if t.delete(ctx, storeKey) != nil {
				return f, ""
			}
		}
		l, ok := t.waitLease(ctx, storeKey)
		if !ok || l.Token != "" {
			return f, l.Token
		}
		if f = t.read(ctx, g, key, l.Item); f.ok {
			return f, ""
		}
		force = true // what is there is of no use
	}
	return f, ""
}

// waitLease asks for a lease until there is a value, or it is had. It returns false if
// the store fails.
func (t *tier[K, V]) waitLease(ctx context.Context, storeKey string) (l Lease, ok bool) {
	for {
		err := t.do(ctx, func(ctx context.Context) error {
			var err error
			l, err = t.leaser.Lease(ctx, storeKey, t.c.o.Lease)
			return err
		})
		if err != nil {
			return Lease{}, false
		}
		if l.Token != "" || l.Item.Value != nil {
			return l, true
		}
		t.c.counts.leaseWaits.Add(1)
		bounded, cancel := context.WithTimeout(ctx, t.c.o.Lease)
		err = t.leaser.Wait(bounded, storeKey)
		late := bounded.Err() != nil
		cancel()
		if ctx.Err() != nil || err != nil && !late {
			return Lease{}, false
		}
	}
}

// renew renews a lease until stop is called, which may be more than once.
func (t *tier[K, V]) renew(ctx context.Context, storeKey, token string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(max(t.c.o.Lease/3, 1))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			held := true
			err := t.do(ctx, func(ctx context.Context) (err error) {
				held, err = t.leaser.Renew(ctx, storeKey, token, t.c.o.Lease)
				return err
			})
			if err == nil && !held {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
