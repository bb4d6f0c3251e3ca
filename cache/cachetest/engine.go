package cachetest

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/uprung/uprung/cache"
)

// Engine is a store in memory that several clients share. It forgets what has expired
// when it comes across it, and keeps everything else: it is for tests. Use [NewEngine]. It
// is safe for concurrent use.
type Engine struct {
	mu      sync.Mutex
	items   map[string]*item // guarded by mu
	tokens  int              // given out so far; guarded by mu
	changed chan struct{}    // closed at the next change; guarded by mu
	clients []*Client        // guarded by mu
}

type item struct {
	value   []byte
	token   string // of a lease, if there is no value
	expires time.Time
}

// NewEngine returns an empty engine.
func NewEngine() *Engine {
	return &Engine{items: make(map[string]*item), changed: make(chan struct{})}
}

// Client returns a new client, as if in another process.
func (e *Engine) Client() *Client {
	c := &Client{engine: e, change: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clients = append(e.clients, c)
	return c
}

// Keys returns the keys that have a value.
func (e *Engine) Keys() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var keys []string
	for key := range e.items {
		if i := e.find(key); i != nil && i.token == "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// Put stores a value behind everybody's back: nobody is told. It is for values that no
// client would store.
func (e *Engine) Put(key string, value []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.items[key] = &item{value: value}
}

// find returns what is there for a key. It is called under mu.
func (e *Engine) find(key string) *item {
	i := e.items[key]
	if i != nil && !i.expires.IsZero() && !time.Now().Before(i.expires) {
		delete(e.items, key)
		return nil
	}
	return i
}

// touch wakes who waits, and tells the subscribers of other clients. It is called under
// mu, and returns what is to be called without.
func (e *Engine) touch(by *Client, keys ...string) (tell func()) {
	close(e.changed)
	e.changed = make(chan struct{})
	var subs []*subscription
	for _, c := range e.clients {
		if c != by {
			subs = append(subs, c.listening()...)
		}
	}
	return func() {
		for _, s := range subs {
			s.tell(keys)
		}
	}
}

// Fault is what is wrong between a [Client] and its [Engine].
type Fault uint8

const (
	// None lets everything through.
	None Fault = iota
	// Down has every call fail at once.
	Down
	// Hung has every call wait until its context ends.
	Hung
)

// ErrDown is the error of calls under [Down].
var ErrDown = errors.New("cachetest: the engine is down")

// Client is a [cache.Store], a [cache.Batcher], a [cache.Leaser], and a [cache.Bus] that
// tells by itself what other clients change. Use [Engine.Client]. It is safe for
// concurrent use.
type Client struct {
	engine *Engine

	mu     sync.Mutex
	fault  Fault           // guarded by mu
	deaf   bool            // guarded by mu
	change chan struct{}   // closed when fault changes; guarded by mu
	subs   []*subscription // guarded by mu
	calls  int             // guarded by mu
}

var _ interface {
	cache.Store
	cache.Batcher
	cache.Leaser
	cache.Bus
} = (*Client)(nil)

// SetFault changes what is wrong from now on, for calls in progress as well.
func (c *Client) SetFault(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
	close(c.change)
	c.change = make(chan struct{})
}

// Calls returns how many calls there were, those that failed included.
func (c *Client) Calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// Disconnect has the client miss what others change, which its subscribers are told at
// once: they are called Lost.
func (c *Client) Disconnect() { c.hear(true) }

// Reconnect has it hear again, and its subscribers are called Lost.
func (c *Client) Reconnect() { c.hear(false) }

// hear changes whether the client hears.
func (c *Client) hear(deaf bool) {
	c.mu.Lock()
	c.deaf = deaf
	subs := append([]*subscription(nil), c.subs...)
	c.mu.Unlock()
	for _, s := range subs {
		s.lost()
	}
}

// listening returns the subscriptions that hear.
func (c *Client) listening() []*subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.deaf {
		return nil
	}
	return append([]*subscription(nil), c.subs...)
}

// pass waits while the client hangs.
func (c *Client) pass(ctx context.Context) error {
	c.mu.Lock()
	c.calls++
	for {
		fault, change := c.fault, c.change
		c.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case fault == None:
			return nil
		case fault == Down:
			return ErrDown
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.mu.Lock()
	}
}

func expiry(ttl time.Duration) time.Time {
	if ttl <= 0 {
		return time.Time{}
	}
	return time.Now().Add(ttl)
}

// Get returns the item of a key.
func (c *Client) Get(ctx context.Context, key string) (cache.Item, error) {
	items, err := c.GetMany(ctx, []string{key})
	if err != nil {
		return cache.Item{}, err
	}
	return items[0], nil
}

// GetMany returns the items of keys, all of one instant.
func (c *Client) GetMany(ctx context.Context, keys []string) ([]cache.Item, error) {
	if err := c.pass(ctx); err != nil {
		return nil, err
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	items := make([]cache.Item, len(keys))
	for n, key := range keys {
		items[n] = c.engine.find(key).public()
	}
	return items, nil
}

// public is what a client sees of an item, which may be nil.
func (i *item) public() cache.Item {
	if i == nil || i.token != "" {
		return cache.Item{}
	}
	out := cache.Item{Value: bytes.Clone(i.value)}
	if !i.expires.IsZero() {
		out.TTL = time.Until(i.expires)
	}
	return out
}

// Set stores a value.
func (c *Client) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return c.SetMany(ctx, []cache.StoreEntry{{Key: key, Value: value, TTL: ttl}})
}

// SetMany stores values, all at one instant.
func (c *Client) SetMany(ctx context.Context, entries []cache.StoreEntry) error {
	if err := c.pass(ctx); err != nil {
		return err
	}
	keys := make([]string, len(entries))
	c.engine.mu.Lock()
	for n, entry := range entries {
		keys[n] = entry.Key
		c.engine.items[entry.Key] = &item{value: bytes.Clone(entry.Value), expires: expiry(entry.TTL)}
	}
	tell := c.engine.touch(c, keys...)
	c.engine.mu.Unlock()
	tell()
	return nil
}

// Delete removes values and leases.
func (c *Client) Delete(ctx context.Context, keys ...string) error {
	if err := c.pass(ctx); err != nil {
		return err
	}
	c.engine.mu.Lock()
	for _, key := range keys {
		delete(c.engine.items, key)
	}
	tell := c.engine.touch(c, keys...)
	c.engine.mu.Unlock()
	tell()
	return nil
}

// Lease returns the item of a key, or its lease.
func (c *Client) Lease(ctx context.Context, key string, ttl time.Duration) (cache.Lease, error) {
	if err := c.pass(ctx); err != nil {
		return cache.Lease{}, err
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if i := c.engine.find(key); i != nil {
		return cache.Lease{Item: i.public()}, nil
	}
	c.engine.tokens++
	token := "lease-" + strconv.Itoa(c.engine.tokens)
	c.engine.items[key] = &item{token: token, expires: expiry(ttl)}
	return cache.Lease{Token: token}, nil
}

// held returns the lease of a key if a token holds it. It is called under the mutex of
// the engine.
func (e *Engine) held(key, token string) *item {
	if i := e.find(key); i != nil && i.token == token && token != "" {
		return i
	}
	return nil
}

// Renew lets a lease last.
func (c *Client) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if err := c.pass(ctx); err != nil {
		return false, err
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	i := c.engine.held(key, token)
	if i != nil {
		i.expires = expiry(ttl)
	}
	return i != nil, nil
}

// Publish stores a value and ends its lease.
func (c *Client) Publish(ctx context.Context, key, token string, value []byte, ttl time.Duration) (bool, error) {
	if err := c.pass(ctx); err != nil {
		return false, err
	}
	c.engine.mu.Lock()
	if c.engine.held(key, token) == nil {
		c.engine.mu.Unlock()
		return false, nil
	}
	c.engine.items[key] = &item{value: bytes.Clone(value), expires: expiry(ttl)}
	tell := c.engine.touch(c, key)
	c.engine.mu.Unlock()
	tell()
	return true, nil
}

// Release ends a lease.
func (c *Client) Release(ctx context.Context, key, token string) error {
	if err := c.pass(ctx); err != nil {
		return err
	}
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.engine.held(key, token) != nil {
		delete(c.engine.items, key)
		_ = c.engine.touch(c) // there is nothing to tell subscribers
	}
	return nil
}

// Wait waits while a key is leased.
func (c *Client) Wait(ctx context.Context, key string) error {
	for {
		if err := c.pass(ctx); err != nil {
			return err
		}
		c.engine.mu.Lock()
		i, changed := c.engine.find(key), c.engine.changed
		var left time.Duration
		if i != nil {
			left = time.Until(i.expires)
		}
		c.engine.mu.Unlock()
		if i == nil || i.token == "" {
			return nil
		}
		out := time.NewTimer(left)
		select {
		case <-changed:
		case <-out.C:
		case <-ctx.Done():
		}
		out.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// subscription is a listener of a client.
type subscription struct {
	client *Client

	mu     sync.Mutex // held while the listener is called
	l      cache.Listener
	closed bool // guarded by mu
}

// Subscribe has a listener told what other clients change.
func (c *Client) Subscribe(l cache.Listener) cache.Subscription {
	s := &subscription{client: c, l: l}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subs = append(c.subs, s)
	return s
}

func (s *subscription) tell(keys []string) {
	var wanted []string
	for _, key := range keys {
		if strings.HasPrefix(key, s.l.Prefix) {
			wanted = append(wanted, key)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(wanted) > 0 && !s.closed {
		s.l.Changed(wanted)
	}
}

func (s *subscription) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.l.Lost()
	}
}

// Publish does nothing: the engine tells by itself.
func (s *subscription) Publish(context.Context, []string) error { return nil }

func (s *subscription) Close() error {
	s.client.mu.Lock()
	for i, other := range s.client.subs {
		if other == s {
			s.client.subs = append(s.client.subs[:i:i], s.client.subs[i+1:]...)
			break
		}
	}
	s.client.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
