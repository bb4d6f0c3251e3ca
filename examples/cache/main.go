// Command cache has a hundred callers ask for one user at once, changes it, and takes the
// database away.
//
//	go run ./examples/cache
//
// The database is a map that takes 20 ms for each query. Two caches in one process stand
// for two processes that share a second tier: a map as well, since that is all that a
// cache.Store has to be, and a bus. Each process has the user loaded once; with a
// cache.Leaser, such as that of cache/rediscache, both together would.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/cache"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// User is what is cached.
type User struct{ Name, Team string }

// database counts its queries.
type database struct {
	mu      sync.Mutex
	users   map[int]User // guarded by mu
	down    atomic.Bool
	queries atomic.Int64
}

var errDown = errors.New("the database is down")

func (d *database) find(_ context.Context, id int) (User, error) {
	d.queries.Add(1)
	time.Sleep(20 * time.Millisecond)
	if d.down.Load() {
		return User{}, errDown
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	user, ok := d.users[id]
	if !ok {
		return User{}, cache.ErrNotFound
	}
	return user, nil
}

func (d *database) rename(id int, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users[id] = User{name, d.users[id].Team}
}

const ttl = 200 * time.Millisecond

// engine is a second tier that keeps everything until it expires.
type engine struct {
	mu    sync.Mutex
	items map[string]stored // guarded by mu
}

type stored struct {
	value   []byte
	expires time.Time // zero means never
}

func (e *engine) Get(_ context.Context, key string) (cache.Item, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.items[key]
	switch {
	case !ok:
		return cache.Item{}, nil
	case s.expires.IsZero():
		return cache.Item{Value: bytes.Clone(s.value)}, nil
	case !time.Now().Before(s.expires):
		delete(e.items, key)
		return cache.Item{}, nil
	}
	return cache.Item{Value: bytes.Clone(s.value), TTL: time.Until(s.expires)}, nil
}

func (e *engine) Set(_ context.Context, key string, value []byte, ttl time.Duration) error {
	s := stored{value: bytes.Clone(value)}
	if ttl > 0 {
		s.expires = time.Now().Add(ttl)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.items[key] = s
	return nil
}

func (e *engine) Delete(_ context.Context, keys ...string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, key := range keys {
		delete(e.items, key)
	}
	return nil
}

// open makes the cache of one process.
func open(store cache.Store, bus cache.Bus) (*cache.Cache[int, User], error) {
	return cache.New(10_000, &cache.Options[int, User]{
		Name:         "users",
		TTL:          ttl,
		StaleIfError: time.Hour,
		TagsOf:       func(_ int, u User) []string { return []string{u.Team} },
		Store:        store,
		Bus:          bus,
		Namespace:    "users",
	})
}

func run(ctx context.Context, out io.Writer) error {
	db := &database{users: map[int]User{17: {"Ada", "engines"}}}
	store, bus := &engine{items: make(map[string]stored)}, cache.NewLocalBus()
	here, err := open(store, bus)
	if err != nil {
		return err
	}
	defer func() { _ = here.Close() }() // never fails
	there, err := open(store, bus)
	if err != nil {
		return err
	}
	defer func() { _ = there.Close() }()

	// Everybody asks at once, in both processes.
	var all sync.WaitGroup
	for i := range 100 {
		one := here
		if i%2 == 1 {
			one = there
		}
		all.Go(func() { _, _ = one.GetOrLoad(ctx, 17, db.find) }) // who fails would ask again below
	}
	all.Wait()
	say := func(what string, c *cache.Cache[int, User]) error {
		user, err := c.GetOrLoad(ctx, 17, db.find)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%-40s %-6s queries so far: %d\n", what, user.Name, db.queries.Load())
		return err
	}
	if err := say("after a hundred callers:", here); err != nil {
		return err
	}

	// A change is seen by both, and costs one query.
	db.rename(17, "Lovelace")
	if err := here.InvalidateTag(ctx, "engines"); err != nil {
		return err
	}
	if err := errors.Join(say("renamed, and read here:", here), say("and there:", there)); err != nil {
		return err
	}

	// What is stale is served while there is nothing better.
	db.down.Store(true)
	time.Sleep(ttl)
	return say("without the database:", here)
}
