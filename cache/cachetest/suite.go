package cachetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung/cache"
)

// patience bounds what the suite waits for.
const patience = 5 * time.Second

// short is a TTL that the suite waits for, and long is one that it does not see the end of.
const (
	short = 60 * time.Millisecond
	long  = time.Minute
)

// TestStore checks a store, and whichever of [cache.Batcher], [cache.Leaser] and
// [cache.Bus] it is. Each call of open gives another client of the same engine.
func TestStore(t *testing.T, open func(t *testing.T) cache.Store) {
	t.Helper()
	run := func(name string, test func(*testing.T, *pair)) {
		t.Run(name, func(t *testing.T) {
			t.Helper()
			test(t, &pair{a: open(t), b: open(t), prefix: "cachetest:" + rand.Text() + ":"})
		})
	}
	run("what is not there", absent)
	run("set is seen by all", setIsSeen)
	run("values of any bytes", anyBytes)
	run("values expire", expire)
	run("delete is seen by all", deleteIsSeen)
	run("an ended context", endedContext)
	run("values are copied", copied)
	if _, ok := open(t).(cache.Batcher); ok {
		run("many at once", many)
	}
	if _, ok := open(t).(cache.Leaser); ok {
		run("one lease of many", oneLease)
		run("a lease is no value", leaseIsNoValue)
		run("publish needs the lease", fenced)
		run("a deletion voids a lease", deletionVoids)
		run("a set voids a lease", setVoids)
		run("a lease runs out", leaseRunsOut)
		run("a lease is renewed", renewed)
		run("a lease is released", released)
		run("waiting", waiting)
	}
	if _, ok := open(t).(cache.Bus); ok {
		run("changes are told", told)
		run("a subscription ends", ended)
	}
}

// pair is two clients of an engine.
type pair struct {
	a, b   cache.Store
	prefix string
}

func (p *pair) key(name string) string { return p.prefix + name }

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s cache.Store, key string) cache.Item {
	t.Helper()
	item, err := s.Get(t.Context(), key)
	must(t, err)
	return item
}

func wantValue(t *testing.T, s cache.Store, key, want string) {
	t.Helper()
	if item := get(t, s, key); string(item.Value) != want || (want == "") != (item.Value == nil) {
		t.Errorf("Get(%q) is %q, want %q", key, item.Value, want)
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so: %s", patience, what)
		}
	}
}

func absent(t *testing.T, p *pair) {
	wantValue(t, p.a, p.key("nothing"), "")
	must(t, p.a.Delete(t.Context(), p.key("nothing")))
	must(t, p.a.Delete(t.Context()))
}

func setIsSeen(t *testing.T, p *pair) {
	must(t, p.a.Set(t.Context(), p.key("k"), []byte("one"), long))
	wantValue(t, p.b, p.key("k"), "one")
	must(t, p.b.Set(t.Context(), p.key("k"), []byte("two"), long))
	wantValue(t, p.b, p.key("k"), "two")
	eventually(t, "the other client has the new value", func() bool { return string(get(t, p.a, p.key("k")).Value) == "two" })
	if ttl := get(t, p.b, p.key("k")).TTL; ttl < 0 || ttl > long {
		t.Errorf("TTL is %v, want 0 to %v", ttl, long)
	}
}

func anyBytes(t *testing.T, p *pair) {
	all := make([]byte, 100_000)
	for i := range all {
		all[i] = byte(i)
	}
	for i, value := range [][]byte{{0}, []byte("L1"), []byte("V"), all} {
		key := p.key(fmt.Sprint(i))
		must(t, p.a.Set(t.Context(), key, value, long))
		if got := get(t, p.b, key).Value; !bytes.Equal(got, value) {
			t.Errorf("of %d bytes %d came back, and other ones", len(value), len(got))
		}
	}
}

func expire(t *testing.T, p *pair) {
	must(t, p.a.Set(t.Context(), p.key("k"), []byte("v"), short))
	must(t, p.a.Set(t.Context(), p.key("forever"), []byte("v"), 0))
	eventually(t, "the value has expired", func() bool { return get(t, p.b, p.key("k")).Value == nil })
	eventually(t, "it has for who set it", func() bool { return get(t, p.a, p.key("k")).Value == nil })
	wantValue(t, p.b, p.key("forever"), "v")
	must(t, p.a.Delete(t.Context(), p.key("forever")))
}

func deleteIsSeen(t *testing.T, p *pair) {
	for i := range 100 { // with something to read from a client's memory
		key := p.key(fmt.Sprint(i))
		must(t, p.a.Set(t.Context(), key, []byte("v"), long))
		wantValue(t, p.a, key, "v")
		must(t, p.a.Delete(t.Context(), key))
		wantValue(t, p.a, key, "")
		eventually(t, "the value is gone", func() bool { return get(t, p.b, key).Value == nil })
	}
	must(t, p.a.Set(t.Context(), p.key("x"), []byte("v"), long))
	must(t, p.a.Set(t.Context(), p.key("y"), []byte("v"), long))
	must(t, p.b.Delete(t.Context(), p.key("x"), p.key("z"), p.key("y")))
	wantValue(t, p.b, p.key("x"), "")
	wantValue(t, p.b, p.key("y"), "")
}

func endedContext(t *testing.T, p *pair) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.a.Get(ctx, p.key("k")); !errors.Is(err, context.Canceled) {
		t.Errorf("Get with an ended context returns %v, want context.Canceled", err)
	}
	if err := p.a.Set(ctx, p.key("k"), []byte("v"), long); !errors.Is(err, context.Canceled) {
		t.Errorf("Set with an ended context returns %v, want context.Canceled", err)
	}
}

func copied(t *testing.T, p *pair) {
	value := []byte("before")
	must(t, p.a.Set(t.Context(), p.key("k"), value, long))
	copy(value, "AFTER!")
	wantValue(t, p.b, p.key("k"), "before")
	copy(get(t, p.b, p.key("k")).Value, "AFTER!")
	wantValue(t, p.b, p.key("k"), "before")
}

func many(t *testing.T, p *pair) {
	a, b := p.a.(cache.Batcher), p.b.(cache.Batcher)
	var entries []cache.StoreEntry
	var keys []string
	for i := range 200 {
		keys = append(keys, p.key(fmt.Sprint(i)))
		if i%2 == 0 {
			entries = append(entries, cache.StoreEntry{Key: keys[i], Value: []byte(keys[i]), TTL: long})
		}
	}
	must(t, a.SetMany(t.Context(), entries))
	keys = append(keys, keys[0]) // one twice
	items, err := b.GetMany(t.Context(), keys)
	must(t, err)
	if len(items) != len(keys) {
		t.Fatalf("GetMany returned %d items for %d keys", len(items), len(keys))
	}
	for i, item := range items {
		want := keys[i]
		if i%2 == 1 {
			want = ""
		}
		if string(item.Value) != want {
			t.Errorf("item %d is %q, want %q", i, item.Value, want)
		}
	}
	must(t, a.SetMany(t.Context(), nil))
	if items, err := a.GetMany(t.Context(), nil); err != nil || len(items) != 0 {
		t.Errorf("GetMany of nothing returned %v, %v", items, err)
	}
	must(t, p.a.Delete(t.Context(), keys...))
}

func leasers(p *pair) (a, b cache.Leaser) { return p.a.(cache.Leaser), p.b.(cache.Leaser) }

func take(t *testing.T, l cache.Leaser, key string, ttl time.Duration) string {
	t.Helper()
	lease, err := l.Lease(t.Context(), key, ttl)
	must(t, err)
	if lease.Token == "" {
		t.Fatalf("Lease(%q) has no token, and the item is %q", key, lease.Item.Value)
	}
	return lease.Token
}

func oneLease(t *testing.T, p *pair) {
	a, b := leasers(p)
	var mu sync.Mutex
	tokens := make(map[string]int)
	var all sync.WaitGroup
	for i := range 50 {
		l := a
		if i%2 == 1 {
			l = b
		}
		all.Go(func() {
			lease, err := l.Lease(t.Context(), p.key("k"), long)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			tokens[lease.Token]++
		})
	}
	all.Wait()
	if len(tokens) != 2 || tokens[""] != 49 {
		t.Errorf("50 callers have tokens %v, want one with one", tokens)
	}
	must(t, p.a.Delete(t.Context(), p.key("k")))
	must(t, p.a.Set(t.Context(), p.key("k"), []byte("v"), long))
	lease, err := b.Lease(t.Context(), p.key("k"), long)
	must(t, err)
	if lease.Token != "" || string(lease.Item.Value) != "v" {
		t.Errorf("Lease of a value is %q and token %q, want the value alone", lease.Item.Value, lease.Token)
	}
}

func leaseIsNoValue(t *testing.T, p *pair) {
	a, _ := leasers(p)
	take(t, a, p.key("k"), long)
	wantValue(t, p.a, p.key("k"), "")
	wantValue(t, p.b, p.key("k"), "")
	if batcher, ok := p.b.(cache.Batcher); ok {
		items, err := batcher.GetMany(t.Context(), []string{p.key("k")})
		must(t, err)
		if items[0].Value != nil {
			t.Errorf("GetMany of a lease has %q", items[0].Value)
		}
	}
	must(t, p.a.Delete(t.Context(), p.key("k")))
}

func publish(t *testing.T, l cache.Leaser, key, token, value string) bool {
	t.Helper()
	stored, err := l.Publish(t.Context(), key, token, []byte(value), long)
	must(t, err)
	return stored
}

func fenced(t *testing.T, p *pair) {
	a, b := leasers(p)
	token := take(t, a, p.key("k"), long)
	if publish(t, b, p.key("k"), token+"x", "wrong") {
		t.Error("a value was published with the token of nobody")
	}
	wantValue(t, p.b, p.key("k"), "")
	if !publish(t, a, p.key("k"), token, "right") {
		t.Error("a value was not published with the lease held")
	}
	wantValue(t, p.a, p.key("k"), "right")
	eventually(t, "the other client has the value", func() bool { return string(get(t, p.b, p.key("k")).Value) == "right" })
	if publish(t, a, p.key("k"), token, "twice") {
		t.Error("a value was published twice with one lease")
	}
	wantValue(t, p.a, p.key("k"), "right")
}

func deletionVoids(t *testing.T, p *pair) {
	a, b := leasers(p)
	old := take(t, a, p.key("k"), long)
	must(t, p.b.Delete(t.Context(), p.key("k")))
	if publish(t, a, p.key("k"), old, "stale") {
		t.Error("a value was published after the key was deleted")
	}
	wantValue(t, p.b, p.key("k"), "")
	token := take(t, b, p.key("k"), long)
	if token == old {
		t.Error("a token was given out twice")
	}
	if publish(t, a, p.key("k"), old, "stale") {
		t.Error("a value was published with the lease before")
	}
	if held, err := a.Renew(t.Context(), p.key("k"), old, long); err != nil || held {
		t.Errorf("Renew of the lease before is %v, %v; want false", held, err)
	}
	must(t, a.Release(t.Context(), p.key("k"), old))
	if !publish(t, b, p.key("k"), token, "fresh") {
		t.Error("the lease was lost to one that had been voided")
	}
}

func setVoids(t *testing.T, p *pair) {
	a, _ := leasers(p)
	token := take(t, a, p.key("k"), long)
	must(t, p.b.Set(t.Context(), p.key("k"), []byte("set"), long))
	if publish(t, a, p.key("k"), token, "stale") {
		t.Error("a value was published over one that was set meanwhile")
	}
	must(t, a.Release(t.Context(), p.key("k"), token))
	wantValue(t, p.b, p.key("k"), "set")
}

func leaseRunsOut(t *testing.T, p *pair) {
	a, b := leasers(p)
	old := take(t, a, p.key("k"), short)
	var lease cache.Lease
	eventually(t, "the lease has run out", func() bool {
		var err error
		lease, err = b.Lease(t.Context(), p.key("k"), long)
		must(t, err)
		return lease.Token != ""
	})
	if publish(t, a, p.key("k"), old, "late") {
		t.Error("a value was published with a lease that had run out")
	}
	if !publish(t, b, p.key("k"), lease.Token, "v") {
		t.Error("who took over could not publish")
	}
}

func renewed(t *testing.T, p *pair) {
	a, b := leasers(p)
	token := take(t, a, p.key("k"), 5*short)
	for range 20 {
		time.Sleep(short)
		if held, err := a.Renew(t.Context(), p.key("k"), token, 10*short); err != nil || !held {
			t.Fatalf("Renew is %v, %v; want true", held, err)
		}
	}
	lease, err := b.Lease(t.Context(), p.key("k"), long)
	must(t, err)
	if lease.Token != "" {
		t.Error("a lease that was renewed was given to another")
	}
	if !publish(t, a, p.key("k"), token, "v") {
		t.Error("a lease that was renewed is not held")
	}
}

func released(t *testing.T, p *pair) {
	a, b := leasers(p)
	token := take(t, a, p.key("k"), long)
	must(t, b.Release(t.Context(), p.key("k"), token+"x"))
	if held, err := a.Renew(t.Context(), p.key("k"), token, long); err != nil || !held {
		t.Errorf("after another token was released, Renew is %v, %v; want true", held, err)
	}
	must(t, a.Release(t.Context(), p.key("k"), token))
	token = take(t, b, p.key("k"), long)
	must(t, b.Release(t.Context(), p.key("k"), token))
	wantValue(t, p.a, p.key("k"), "")
}

// waiting checks that a waiter is woken by each thing that there is to wait for.
func waiting(t *testing.T, p *pair) {
	a, b := leasers(p)
	for name, end := range map[string]func(key, token string) error{
		"publish": func(key, token string) error {
			_, err := a.Publish(t.Context(), key, token, []byte("v"), long)
			return err
		},
		"release": func(key, token string) error { return a.Release(t.Context(), key, token) },
		"delete":  func(key, _ string) error { return p.a.Delete(t.Context(), key) },
		"set":     func(key, _ string) error { return p.a.Set(t.Context(), key, []byte("v"), long) },
	} {
		key := p.key(name)
		token := take(t, a, key, long)
		woken := make(chan error, 1)
		go func() {
			for { // it may return early
				if err := b.Wait(t.Context(), key); err != nil {
					woken <- err
					return
				}
				if lease, err := b.Lease(t.Context(), key, long); err != nil || lease.Token != "" || lease.Item.Value != nil {
					woken <- err
					return
				}
			}
		}()
		time.Sleep(short / 2) // most of the time, it is waiting by then
		must(t, end(key, token))
		select {
		case err := <-woken:
			must(t, err)
		case <-time.After(patience):
			t.Errorf("%s wakes no waiter", name)
		}
	}
	take(t, a, p.key("out"), short)
	for { // a lease that runs out wakes
		must(t, b.Wait(t.Context(), p.key("out")))
		lease, err := b.Lease(t.Context(), p.key("out"), long)
		must(t, err)
		if lease.Token != "" {
			break
		}
	}
	must(t, b.Wait(t.Context(), p.key("nothing")))
	take(t, a, p.key("held"), long)
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	for ctx.Err() == nil {
		if err := b.Wait(ctx, p.key("held")); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait returns %v, want that its deadline is exceeded", err)
			break
		}
	}
}

// heard collects what a bus tells.
type heard struct {
	mu   sync.Mutex
	keys []string
	lost int
}

func (h *heard) listener(prefix string) cache.Listener {
	return cache.Listener{
		Prefix: prefix,
		Changed: func(keys []string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.keys = append(h.keys, keys...)
		},
		Lost: func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.lost++
		},
	}
}

func (h *heard) of(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.keys, key)
}

// change sets and deletes a key, and announces it.
func change(t *testing.T, s cache.Store, sub cache.Subscription, key string) {
	t.Helper()
	must(t, s.Set(t.Context(), key, []byte("v"), long))
	must(t, s.Delete(t.Context(), key))
	must(t, sub.Publish(t.Context(), []string{key}))
}

func told(t *testing.T, p *pair) {
	var mine, others heard
	a := p.a.(cache.Bus).Subscribe(mine.listener(p.prefix))
	defer func() { must(t, a.Close()) }()
	b := p.b.(cache.Bus).Subscribe(others.listener(p.prefix))
	defer func() { must(t, b.Close()) }()
	elsewhere := "other" + p.key("k")
	n := 0
	eventually(t, "the other client hears", func() bool { // once it is connected
		n++
		key := p.key(fmt.Sprint("first", n))
		_ = get(t, p.b, key) // an engine that tells of what was read has to know
		change(t, p.a, a, elsewhere)
		change(t, p.a, a, key)
		time.Sleep(short / 4)
		return others.of(key)
	})
	for i := range 100 {
		key := p.key(fmt.Sprint("later", i))
		_ = get(t, p.b, key)
		change(t, p.a, a, key)
		eventually(t, "the other client hears of each change", func() bool { return others.of(key) })
	}
	if others.of(elsewhere) {
		t.Errorf("the listener of %q was told of %q", p.prefix, elsewhere)
	}
}

func ended(t *testing.T, p *pair) {
	var others heard
	a := p.a.(cache.Bus).Subscribe(cache.Listener{Prefix: p.prefix, Changed: func([]string) {}, Lost: func() {}})
	defer func() { must(t, a.Close()) }()
	b := p.b.(cache.Bus).Subscribe(others.listener(p.prefix))
	must(t, b.Close())
	must(t, b.Close())
	others.mu.Lock()
	others.keys = nil
	others.mu.Unlock()
	_ = get(t, p.b, p.key("k"))
	change(t, p.a, a, p.key("k"))
	time.Sleep(short)
	if others.of(p.key("k")) {
		t.Error("a listener was called after its subscription was closed")
	}
}
