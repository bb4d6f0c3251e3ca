package rediscache

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/internal/redisx"
)

// ErrDown is what the error of a call matches that was not made, since calls before it
// failed and Redis has not answered yet. It is an [*uprung.Rejection].
var ErrDown = errors.New("rediscache: redis is down")

// ErrClosed is the error of calls after Close.
var ErrClosed = errors.New("rediscache: closed")

// errMalformed is the error of an answer that is not one of ours.
var errMalformed = errors.New("rediscache: malformed answer")

// Store is a [cache.Store] in Redis or Valkey, and all that a store can be besides: a
// [cache.Batcher], a [cache.Leaser], and a [cache.Bus] that tells by itself what others
// change. Several caches may share one. Use [New]. It is safe for concurrent use.
type Store struct {
	name    string
	redis   *redisx.Client
	down    *uprung.Rejection
	scripts scripts
	cluster atomic.Bool // known once connected
	clock   clock

	subs    subscriptions
	missed  missed
	counts  counts
	waiting sync.Mutex
	waiters map[string]*waiter // by key; guarded by waiting
}

var _ interface {
	cache.Store
	cache.Batcher
	cache.Leaser
	cache.Bus
	uprung.Source
} = (*Store)(nil)

// do makes a call about a key. Whoever asked goes on without an answer if there is none,
// and may keep what Redis knows nothing of: that is noted.
func (s *Store) do(ctx context.Context, key string, f func(context.Context, rueidis.Client) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := s.redis.Do(ctx, key, f)
	if err == nil {
		return nil
	}
	s.counts.failures.Add(1)
	s.miss(key)
	switch {
	case errors.Is(err, redisx.ErrDown):
		return s.down
	case errors.Is(err, redisx.ErrClosed):
		return ErrClosed
	}
	return err
}

// each makes a call for all keys, in a cluster one for each part of it that can fail alone.
// f is called with the indexes of keys of such a part, concurrently.
func (s *Store) each(ctx context.Context, keys []string, f func(context.Context, rueidis.Client, []int) error) error {
	if len(keys) == 0 {
		return ctx.Err()
	}
	parts := s.parts(keys)
	errs := make([]error, len(parts))
	call := func(n int, part []int) {
		errs[n] = s.do(ctx, keys[part[0]], func(ctx context.Context, c rueidis.Client) error {
			s.meet(c)
			return f(ctx, c, part)
		})
		if errs[n] != nil {
			for _, i := range part[1:] {
				s.miss(keys[i])
			}
		}
	}
	var others sync.WaitGroup
	for n, part := range parts[1:] {
		others.Go(func() { call(n+1, part) })
	}
	call(0, parts[0])
	others.Wait()
	return errors.Join(errs...)
}

// meet finds out whether a client is of a cluster.
func (s *Store) meet(c rueidis.Client) {
	if is := c.Mode() == rueidis.ClientModeCluster; is != s.cluster.Load() {
		s.cluster.Store(is)
	}
}

// parts divides keys, by their indexes.
func (s *Store) parts(keys []string) [][]int {
	all := make([]int, len(keys))
	for i := range all {
		all[i] = i
	}
	if len(keys) == 1 || !s.cluster.Load() {
		return [][]int{all}
	}
	var by [partitions][]int
	for i, key := range keys {
		p := partition(key)
		by[p] = append(by[p], i)
	}
	var parts [][]int
	for _, part := range by {
		if part != nil {
			parts = append(parts, part)
		}
	}
	return parts
}

// partitions is the number of parts of a cluster that fail on their own, as those of
// package redisx do.
const partitions = 16

func partition(key string) int { return int(redisx.Slot(key)) * partitions / 16384 }

// Get returns the item of a key, in one round trip. The server remembers that it was read,
// and tells of its next change.
func (s *Store) Get(ctx context.Context, key string) (cache.Item, error) {
	here := s.clock.here()
	if s.cluster.Load() || s.clock.due(here) { // each node has a clock of its own
		return s.getExactly(ctx, key, here)
	}
	var item cache.Item
	known := true
	err := s.do(ctx, key, func(ctx context.Context, c rueidis.Client) error {
		found, err := c.Do(ctx, c.B().Get().Key(key).Build()).AsBytes()
		if err != nil {
			return orNil(err)
		}
		item, known = s.clock.item(found, here)
		return nil
	})
	switch {
	case err != nil:
		return cache.Item{}, err // a call that goes on may still write to item
	case !known:
		return s.getExactly(ctx, key, here)
	}
	return item, nil
}

// getExactly asks for the TTL as well, and learns the time of the server from it.
func (s *Store) getExactly(ctx context.Context, key string, here int64) (cache.Item, error) {
	var item cache.Item
	err := s.do(ctx, key, func(ctx context.Context, c rueidis.Client) error {
		s.meet(c)
		answers := c.DoMulti(ctx, c.B().Get().Key(key).Build(), c.B().Pttl().Key(key).Build())
		found, left, err := pair(answers)
		item = exactly(found, left)
		if _, expiry := parse(found); err == nil && expiry > 0 && left > 0 {
			s.clock.set(here, expiry, left)
		}
		return err
	})
	if err != nil {
		return cache.Item{}, err
	}
	return item, nil
}

// pair reads the answers to GET and PTTL.
func pair(answers []rueidis.RedisResult) (found []byte, left int64, err error) {
	found, err = answers[0].AsBytes()
	if err != nil {
		return nil, 0, orNil(err)
	}
	left, err = answers[1].AsInt64()
	return found, left, err
}

// orNil returns an error, but for that which says that there is nothing.
func orNil(err error) error {
	if rueidis.IsRedisNil(err) {
		return nil
	}
	return err
}

// GetMany returns the items of keys, in one round trip, or one to each node of a cluster.
func (s *Store) GetMany(ctx context.Context, keys []string) ([]cache.Item, error) {
	items := make([]cache.Item, len(keys))
	err := s.each(ctx, keys, func(ctx context.Context, c rueidis.Client, part []int) error {
		commands := make(rueidis.Commands, 0, 2*len(part))
		for _, i := range part {
			commands = append(commands, c.B().Get().Key(keys[i]).Build(), c.B().Pttl().Key(keys[i]).Build())
		}
		answers := c.DoMulti(ctx, commands...)
		for n, i := range part {
			found, left, err := pair(answers[2*n : 2*n+2])
			if err != nil {
				return err
			}
			items[i] = exactly(found, left)
		}
		return nil
	})
	if err != nil {
		return nil, err // a call that goes on may still write to items
	}
	return items, nil
}

// Set stores a value.
func (s *Store) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	arguments := []string{rueidis.BinaryString(bytes.Clone(value)), millis(ttl)}
	err := s.do(ctx, key, func(ctx context.Context, c rueidis.Client) error {
		return s.scripts.set.Exec(ctx, c, []string{key}, arguments).Error()
	})
	if err == nil {
		s.wake(key)
	}
	return err
}

// SetMany stores values, in one round trip, or one to each node of a cluster.
func (s *Store) SetMany(ctx context.Context, entries []cache.StoreEntry) error {
	keys := make([]string, len(entries))
	calls := make([]rueidis.LuaExec, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
		calls[i] = rueidis.LuaExec{Keys: keys[i : i+1 : i+1], Args: []string{rueidis.BinaryString(bytes.Clone(e.Value)), millis(e.TTL)}}
	}
	err := s.each(ctx, keys, func(ctx context.Context, c rueidis.Client, part []int) error {
		some := make([]rueidis.LuaExec, len(part))
		for n, i := range part {
			some[n] = calls[i]
		}
		for _, answer := range s.scripts.setMany.ExecMulti(ctx, c, some...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.wake(keys...)
	}
	return err
}

// Delete removes values and leases, in one round trip, or one to each node of a cluster.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	err := s.each(ctx, keys, func(ctx context.Context, c rueidis.Client, part []int) error {
		commands := make(rueidis.Commands, len(part))
		for n, i := range part {
			commands[n] = c.B().Del().Key(keys[i]).Build()
		}
		for _, answer := range c.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.wake(keys...)
	}
	return err
}

// Close closes the connections, ends what goes on behind callers' backs, and waits for
// that. Calls in flight fail. Caches that use the store go on without it. It may be called
// more than once, and never fails.
func (s *Store) Close() error {
	s.missed.close()
	return s.redis.Close()
}
