package rediscache

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/cache"
)

// scripts are the steps that have to be one. Each has one key. What is stored or published
// is read in the same step, so that the server tells of its next change by others: its
// notice of this change is what made it forget that it had been read before.
type scripts struct {
	set, setMany, lease, renew, publish, release *rueidis.Lua
}

const (
	// store has two arguments: the value, and its TTL in milliseconds, 0 for none.
	store = `
local function store(value, ttl)
	if ttl == '0' then
		redis.call('SET', KEYS[1], 'V' .. value)
	else
		local now = redis.call('TIME')
		local expiry = string.format('%016.0f', now[1] * 1000 + math.floor(now[2] / 1000) + ttl)
		redis.call('SET', KEYS[1], 'T' .. expiry .. value, 'PX', ttl)
	end
	redis.call('EXISTS', KEYS[1])
end
`
	setScript = store + `
store(ARGV[1], ARGV[2])
return 1`

	leaseScript = `
local stored = redis.call('GET', KEYS[1])
if stored then return {stored, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {}`

	renewScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`

	publishScript = store + `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
store(ARGV[2], ARGV[3])
return 1`

	releaseScript = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`
)

func newScripts() scripts {
	return scripts{
		set:     rueidis.NewLuaScript(setScript),
		setMany: rueidis.NewLuaScriptNoSha(setScript), // saves a round trip to load it
		lease:   rueidis.NewLuaScript(leaseScript),
		renew:   rueidis.NewLuaScript(renewScript),
		publish: rueidis.NewLuaScript(publishScript),
		release: rueidis.NewLuaScript(releaseScript),
	}
}

// run runs a script whose answer is a number.
func (s *Store) run(ctx context.Context, script *rueidis.Lua, key string, arguments ...string) (done bool, err error) {
	var answer int64
	err = s.do(ctx, key, func(ctx context.Context, c rueidis.Client) (err error) {
		answer, err = script.Exec(ctx, c, []string{key}, arguments).AsInt64()
		return err
	})
	if err != nil {
		return false, err
	}
	return answer == 1, nil
}

// Lease returns the item of a key, or its lease if nobody has it, in one round trip.
func (s *Store) Lease(ctx context.Context, key string, ttl time.Duration) (cache.Lease, error) {
	token := rand.Text()
	var item cache.Item
	var taken bool
	err := s.do(ctx, key, func(ctx context.Context, c rueidis.Client) error {
		answer, err := s.scripts.lease.Exec(ctx, c, []string{key}, []string{string(leaseMark) + token, millis(max(ttl, 1))}).ToArray()
		switch {
		case err != nil:
			return err
		case len(answer) == 0:
			taken = true
			return nil
		case len(answer) != 2:
			return errMalformed
		}
		found, err1 := answer[0].AsBytes()
		left, err2 := answer[1].AsInt64()
		item = exactly(found, left)
		return errors.Join(err1, err2)
	})
	switch {
	case err != nil:
		return cache.Lease{}, err
	case taken:
		return cache.Lease{Token: token}, nil
	}
	return cache.Lease{Item: item}, nil
}

// Renew lets a lease last.
func (s *Store) Renew(ctx context.Context, key, token string, ttl time.Duration) (held bool, err error) {
	return s.run(ctx, s.scripts.renew, key, string(leaseMark)+token, millis(max(ttl, 1)))
}

// Publish stores a value and ends its lease, if it is held.
func (s *Store) Publish(ctx context.Context, key, token string, value []byte, ttl time.Duration) (done bool, err error) {
	done, err = s.run(ctx, s.scripts.publish, key, string(leaseMark)+token, rueidis.BinaryString(bytes.Clone(value)), millis(ttl))
	if done {
		s.wake(key)
	}
	return done, err
}

// Release ends a lease, if it is held.
func (s *Store) Release(ctx context.Context, key, token string) error {
	done, err := s.run(ctx, s.scripts.release, key, string(leaseMark)+token)
	if done {
		s.wake(key)
	}
	return err
}

// waiter is those in this process who wait for a key.
type waiter struct {
	woken chan struct{}
	count int // guarded by Store.waiting
}

// mostWait is how long Wait waits if it does not know better.
const mostWait = time.Second

// Wait waits until the server tells of a change of the key, or its lease has run out.
func (s *Store) Wait(ctx context.Context, key string) error {
	w := s.enter(key) // before it is read, so that no change in between is missed
	defer s.leave(key, w)
	var found []byte
	var left int64
	err := s.do(ctx, key, func(ctx context.Context, c rueidis.Client) (err error) {
		found, left, err = pair(c.DoMulti(ctx, c.B().Get().Key(key).Build(), c.B().Pttl().Key(key).Build()))
		return err
	})
	if err != nil {
		return err
	}
	if len(found) == 0 || found[0] != leaseMark {
		return nil
	}
	out := mostWait
	if left >= 0 {
		out = min(out, time.Duration(left+1)*time.Millisecond) // it is there to the end of its last millisecond
	}
	timer := time.NewTimer(out)
	defer timer.Stop()
	select {
	case <-w.woken:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// enter joins those who wait for a key.
func (s *Store) enter(key string) *waiter {
	s.waiting.Lock()
	defer s.waiting.Unlock()
	w := s.waiters[key]
	if w == nil {
		w = &waiter{woken: make(chan struct{})}
		s.waiters[key] = w
	}
	w.count++
	return w
}

func (s *Store) leave(key string, w *waiter) {
	s.waiting.Lock()
	defer s.waiting.Unlock()
	if w.count--; w.count == 0 && s.waiters[key] == w {
		delete(s.waiters, key)
	}
}

// wake wakes who waits for keys. Who comes later waits for the next change.
func (s *Store) wake(keys ...string) {
	s.waiting.Lock()
	defer s.waiting.Unlock()
	for _, key := range keys {
		if w := s.waiters[key]; w != nil {
			delete(s.waiters, key)
			close(w.woken)
		}
	}
}

// wakeAll wakes everybody who waits.
func (s *Store) wakeAll() {
	s.waiting.Lock()
	defer s.waiting.Unlock()
	for _, w := range s.waiters {
		close(w.woken)
	}
	clear(s.waiters)
}
