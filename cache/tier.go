package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/uprung/uprung"
)

// errStore is why the store is not asked: it failed too often lately, or something that
// must not be served could not be deleted yet.
var errStore = errors.New("cache: the store is unavailable")

// tier is a cache's view of its store.
//
// Entries are invalidated in bulk by generations: random numbers, one for all entries, one
// for each tag. An entry notes those that it was made under, and is void if one has changed
// or is gone. A number that is lost costs loads; since none comes twice, nothing void is
// ever valid again.
//
// The tags of an entry are known when it has been loaded, and their generations must be
// of before. Hence a third number, the epoch, which is changed by every invalidation of a
// tag, before that of the tag: if it is the same after the generations of the tags were
// read as it was before the load, they are old enough.
type tier[K comparable, V any] struct {
	c       *Cache[K, V]
	store   Store
	leaser  Leaser       // or nil
	batcher Batcher      // or nil
	bus     Subscription // or nil
	space   string       // of the keys of generations
	prefix  string       // of those of entries
	keyOf   func(string) (K, bool)
	gate    gate
	debts   debts

	mu    sync.Mutex
	known generations // guarded by mu
	until int64       // how long they may be used; guarded by mu
	heard uint64      // how often they were changed by others; guarded by mu
}

// generations are the numbers that a load begins with.
type generations struct{ all, epoch uint64 }

const (
	allKey   = "all"
	epochKey = "epoch"
	tagKey   = "tag:"

	// tagLife is how long the number of a tag is kept in the store, at least. When it is
	// gone, the entries with the tag are void.
	tagLife = 24 * time.Hour
)

func newTier[K comparable, V any](c *Cache[K, V]) *tier[K, V] {
	t := &tier[K, V]{
		c: c, store: c.o.Store,
		space:  c.o.Namespace + "::",
		prefix: c.o.Namespace + ":" + c.o.Codec.Name() + ":",
	}
	t.leaser, _ = c.o.Store.(Leaser)
	t.batcher, _ = c.o.Store.(Batcher)
	var zero K
	if _, ok := any(zero).(string); ok {
		t.keyOf = func(s string) (K, bool) {
			key, ok := any(s).(K)
			return key, ok && c.o.KeyString(key) == s // false if KeyString is not the default
		}
		if c.o.KeyString(any("k").(K)) != "k" {
			t.keyOf = nil
		}
	}
	if c.o.Bus != nil {
		t.bus = c.o.Bus.Subscribe(Listener{Prefix: c.o.Namespace + ":", Changed: t.changed, Lost: t.lost})
	}
	return t
}

func (t *tier[K, V]) key(key K) string { return t.prefix + t.c.o.KeyString(key) }

// changed is told of keys that others have changed in the store.
func (t *tier[K, V]) changed(keys []string) {
	t.c.counts.heard.Add(uint64(len(keys)))
	for _, key := range keys {
		name, entry := strings.CutPrefix(key, t.prefix)
		tag, generation := strings.CutPrefix(key, t.space)
		switch {
		case entry && t.keyOf != nil:
			if key, ok := t.keyOf(name); ok {
				t.c.forget(key)
			}
		case entry:
			t.c.voids.invalidate(key)
		case !generation:
		case tag == allKey:
			t.forgetGenerations()
			t.c.clear()
		case tag == epochKey:
			t.forgetGenerations()
		default:
			if tag, ok := strings.CutPrefix(tag, tagKey); ok && t.c.o.TagsOf != nil {
				t.c.voids.invalidate(tagPrefix + tag)
			}
		}
	}
}

// lost is told that something may have changed.
func (t *tier[K, V]) lost() {
	t.c.counts.lost.Add(1)
	t.forgetGenerations()
	t.c.clear()
}

func (t *tier[K, V]) forgetGenerations() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.until = 0
	t.heard++
}

// do calls the store.
func (t *tier[K, V]) do(ctx context.Context, call func(context.Context) error) error {
	if !t.gate.enter(t.c.now()) {
		return errStore
	}
	bounded, cancel := context.WithTimeout(ctx, t.c.o.StoreTimeout)
	defer cancel()
	err := call(bounded)
	if err != nil && ctx.Err() != nil {
		t.gate.leave(t.c.now(), true) // the caller has left: the store is not to blame
		return err
	}
	// A store that refuses has a breaker of its own, which knows best when to try again.
	_, refused := errors.AsType[*uprung.Rejection](err)
	t.gate.leave(t.c.now(), err == nil || refused)
	if err != nil {
		t.c.counts.storeErrors.Add(1)
	}
	return err
}

// many returns the items of keys.
func (t *tier[K, V]) many(ctx context.Context, keys ...string) (items []Item, err error) {
	err = t.do(ctx, func(ctx context.Context) error {
		if t.batcher != nil && len(keys) > 1 {
			items, err = t.batcher.GetMany(ctx, keys)
			if err == nil && len(items) != len(keys) {
				err = fmt.Errorf("cache: GetMany returned %d items for %d keys", len(items), len(keys))
			}
			return err
		}
		items = make([]Item, len(keys))
		for i, key := range keys {
			if items[i], err = t.store.Get(ctx, key); err != nil {
				return err
			}
		}
		return nil
	})
	return items, err
}

func (t *tier[K, V]) setRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return t.do(ctx, func(ctx context.Context) error { return t.store.Set(ctx, key, value, ttl) })
}

func (t *tier[K, V]) delete(ctx context.Context, keys ...string) error {
	return t.do(ctx, func(ctx context.Context) error { return t.store.Delete(ctx, keys...) })
}

// generation reads what a store has for a generation.
func generation(item Item) uint64 {
	if len(item.Value) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(item.Value)
}

// renewGeneration gives a generation a new number.
func (t *tier[K, V]) renewGeneration(ctx context.Context, key string, ttl time.Duration) (uint64, error) {
	number := max(1, rand.Uint64())
	return number, t.setRaw(ctx, key, binary.BigEndian.AppendUint64(nil, number), ttl)
}

// firstGeneration gives a generation that is not there a number. Of several processes that
// do so at a time, all have the same: or else each would void what the others have made.
func (t *tier[K, V]) firstGeneration(ctx context.Context, key string, ttl time.Duration) (uint64, error) {
	if t.leaser == nil {
		return t.renewGeneration(ctx, key, ttl)
	}
	for range mostLeases {
		l, ok := t.waitLease(ctx, key)
		switch number := generation(l.Item); {
		case !ok:
			return 0, errStore
		case number != 0:
			return number, nil
		case l.Token == "": // something else is there
			return t.renewGeneration(ctx, key, ttl)
		}
		number := max(1, rand.Uint64())
		stored := false
		err := t.do(ctx, func(ctx context.Context) (err error) {
			stored, err = t.leaser.Publish(ctx, key, l.Token, binary.BigEndian.AppendUint64(nil, number), ttl)
			return err
		})
		if err != nil || stored {
			return number, err
		}
	}
	return 0, errStore
}

func (t *tier[K, V]) tagLife() time.Duration { return max(tagLife, 4*t.c.o.TTL) }

// begin returns the generations of this moment, once all debts are settled. Where a bus
// tells of their changes, they need not be read each time.
func (t *tier[K, V]) begin(ctx context.Context) (generations, error) {
	if err := t.settle(ctx); err != nil {
		return generations{}, err
	}
	t.mu.Lock()
	known, until, heard := t.known, t.until, t.heard
	t.mu.Unlock()
	if t.c.now() < until {
		return known, nil
	}
	keys := []string{t.space + allKey}
	if t.c.o.TagsOf != nil {
		keys = append(keys, t.space+epochKey)
	}
	items, err := t.many(ctx, keys...)
	if err != nil {
		return generations{}, err
	}
	var numbers [2]uint64
	for i, item := range items {
		if numbers[i] = generation(item); numbers[i] == 0 {
			if numbers[i], err = t.firstGeneration(ctx, keys[i], 0); err != nil {
				return generations{}, err
			}
		}
	}
	known = generations{numbers[0], numbers[1]}
	if t.bus != nil {
		t.mu.Lock()
		if t.heard == heard {
			t.known, t.until = known, t.c.now()+int64(t.c.o.MemoryTTL)
		}
		t.mu.Unlock()
	}
	return known, nil
}

// found is what the store has for a key.
type found[V any] struct {
	result[V]
	ok bool
}

// get returns what the store has for a key.
func (t *tier[K, V]) get(ctx context.Context, key K) found[V] {
	g, err := t.begin(ctx)
	if err != nil {
		return found[V]{}
	}
	items, err := t.many(ctx, t.key(key))
	if err != nil {
		return found[V]{}
	}
	return t.read(ctx, g, key, items[0])
}

// set stores what a caller has set.
func (t *tier[K, V]) set(ctx context.Context, key K, r result[V]) error {
	g, err := t.begin(ctx)
	if err == nil {
		var value []byte
		var ttl time.Duration
		if value, ttl, err = t.write(ctx, g, key, r); err == nil {
			if ttl < 0 {
				err = t.delete(ctx, t.key(key))
			} else {
				err = t.setRaw(ctx, t.key(key), value, ttl)
			}
		}
	}
	if err != nil {
		t.debts.owe(t.key(key))
	}
	return err
}

// publish tells others of keys that have changed. If that fails, they are deleted and
// published later.
func (t *tier[K, V]) publish(ctx context.Context, keys ...string) error {
	if t.bus == nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, t.c.o.StoreTimeout)
	defer cancel()
	err := t.bus.Publish(bounded, keys)
	if err != nil {
		t.debts.owe(keys...)
	}
	return err
}

// drop deletes keys of entries, or has it done later, and tells others.
func (t *tier[K, V]) drop(ctx context.Context, keys []string) error {
	err := t.settle(ctx)
	if err == nil {
		err = t.delete(ctx, keys...)
	}
	if err != nil {
		t.debts.owe(keys...)
		return err
	}
	return t.publish(ctx, keys...)
}

// bump renews generations, or has it done later, and tells others. The epoch comes first.
func (t *tier[K, V]) bump(ctx context.Context, names ...string) error {
	t.forgetGenerations()
	keys := make([]string, len(names))
	for i, name := range names {
		keys[i] = t.space + name
	}
	err := t.settle(ctx)
	for _, key := range keys {
		if err == nil {
			_, err = t.renewGeneration(ctx, key, t.lifeOf(key))
		}
	}
	t.forgetGenerations()
	if err != nil {
		t.debts.owe(keys...)
		return err
	}
	return t.publish(ctx, keys...)
}

func (t *tier[K, V]) lifeOf(key string) time.Duration {
	if strings.HasPrefix(key, t.space+tagKey) {
		return t.tagLife()
	}
	return 0
}

// settle pays the debts, if there are any. The store is not to be read before.
func (t *tier[K, V]) settle(ctx context.Context) error {
	if t.debts.none() {
		return nil
	}
	if !t.debts.paying.TryLock() {
		return errStore
	}
	defer t.debts.paying.Unlock()
	all, owed := t.debts.list()
	var entries, changed []string
	if all > 0 {
		changed = append(changed, t.space+allKey)
	}
	// The epoch is the first of the generations, since it has to change first.
	for key := range owed {
		switch {
		case key == t.space+epochKey:
			changed = append([]string{key}, changed...)
		case strings.HasPrefix(key, t.space):
			changed = append(changed, key)
		default:
			entries = append(entries, key)
		}
	}
	if len(entries) > 0 {
		if err := t.delete(ctx, entries...); err != nil {
			return err
		}
	}
	for _, key := range changed {
		if _, err := t.renewGeneration(ctx, key, t.lifeOf(key)); err != nil {
			return err
		}
	}
	t.forgetGenerations()
	if t.bus != nil {
		bounded, cancel := context.WithTimeout(ctx, t.c.o.StoreTimeout)
		defer cancel()
		if err := t.bus.Publish(bounded, append(entries, changed...)); err != nil {
			return err
		}
	}
	t.debts.paid(all, owed)
	return nil
}

// gate keeps away from a store that fails: after five failures in a row it is tried once
// in a second.
type gate struct {
	mu       sync.Mutex
	failures int   // in a row; guarded by mu
	until    int64 // when it may be tried again; guarded by mu
}

const (
	gateFailures = 5
	gatePause    = int64(time.Second)
)

func (g *gate) enter(now int64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures < gateFailures {
		return true
	}
	if now < g.until {
		return false
	}
	g.until = now + gatePause // the others wait for what becomes of this one
	return true
}

func (g *gate) leave(now int64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ok {
		g.failures = 0
		return
	}
	if g.failures++; g.failures >= gateFailures {
		g.until = now + gatePause
	}
}

func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures >= gateFailures
}

// debts are keys that have to be deleted from the store, or renewed, before it is read
// again: that failed when it was due. If there are too many, everything is void.
type debts struct {
	paying sync.Mutex // held by who pays

	mu     sync.Mutex
	keys   map[string]uint64 // with the number of the debt; guarded by mu
	all    uint64            // the number of the debt that is about all, or 0; guarded by mu
	number uint64            // guarded by mu
}

// mostDebts bounds the memory for debts.
const mostDebts = 1024

func (d *debts) owe(keys ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.number++
	if len(d.keys)+len(keys) > mostDebts {
		d.keys, d.all = nil, d.number
		return
	}
	if d.keys == nil {
		d.keys = make(map[string]uint64)
	}
	for _, key := range keys {
		d.keys[key] = d.number
	}
}

func (d *debts) none() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.keys) == 0 && d.all == 0
}

func (d *debts) size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.keys) + int(min(d.all, 1))
}

// list returns a copy of the debts.
func (d *debts) list() (all uint64, keys map[string]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.all, maps.Clone(d.keys)
}

// paid strikes out what list returned, but for what has been owed again since.
func (d *debts) paid(all uint64, keys map[string]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, number := range keys {
		if d.keys[key] == number {
			delete(d.keys, key)
		}
	}
	if d.all == all {
		d.all = 0
	}
}
