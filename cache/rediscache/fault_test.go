package rediscache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/rediscache"
	"github.com/uprung/uprung/internal/redisx"
	"github.com/uprung/uprung/internal/testserver"
)

// ear collects what a store tells.
type ear struct {
	mu      sync.Mutex
	changed []string
	lost    int
}

func (e *ear) listener() cache.Listener {
	return cache.Listener{
		Changed: func(keys []string) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.changed = append(e.changed, keys...)
		},
		Lost: func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.lost++
		},
	}
}

func (e *ear) heard(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.changed, key)
}

func (e *ear) losses() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lost
}

func eventually(t *testing.T, what string, is func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !is() {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("after 10s it is still not so: %s", what)
		}
		time.Sleep(time.Millisecond) // real servers: there is nothing to wait for
	}
	return time.Since(start)
}

// What a process writes itself, it is not told of, which must not make it deaf to what
// others do to the same key afterwards.
func TestOwnWritesStayTracked(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	a, b := open(t, patient, server.Addr()), open(t, patient, server.Addr())
	var heard ear
	defer a.Subscribe(heard.listener()).Close()
	value := []byte("v")
	for name, write := range map[string]func(key string) error{
		"Set":     func(key string) error { return a.Set(t.Context(), key, value, time.Minute) },
		"forever": func(key string) error { return a.Set(t.Context(), key, value, 0) },
		"SetMany": func(key string) error {
			return a.SetMany(t.Context(), []cache.StoreEntry{{Key: key, Value: value, TTL: time.Minute}})
		},
		"Publish": func(key string) error {
			lease, err := a.Lease(t.Context(), key, time.Minute)
			if err != nil {
				return err
			}
			stored, err := a.Publish(t.Context(), key, lease.Token, value, time.Minute)
			if err == nil && !stored {
				err = errors.New("not stored")
			}
			return err
		},
	} {
		for range 2 {
			if err := write(name); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := a.Get(t.Context(), "trip"); err != nil {
				t.Fatal(err)
			}
			if heard.heard(name) {
				t.Errorf("%s: a process is told of its own write", name)
			}
			if err := b.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			eventually(t, name+": the change by another is heard", func() bool { return heard.heard(name) })
			heard.mu.Lock()
			heard.changed = nil
			heard.mu.Unlock()
		}
	}
}

// Who waits for a lease is woken by the server, and does not poll.
func TestWaitersAreWoken(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	a, b := open(t, patient, server.Addr()), open(t, patient, server.Addr())
	quickest := time.Hour
	for i := range 5 { // a busy machine may delay some
		key := fmt.Sprint(i)
		lease, err := a.Lease(t.Context(), key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		woken := make(chan error, 1)
		go func() { woken <- b.Wait(t.Context(), key) }()
		eventually(t, "it waits", func() bool { // the server knows who has read the key
			reply, err := server.Do(t.Context(), "INFO", "stats")
			text, _ := reply.(string)
			return err == nil && strings.Contains(text, fmt.Sprintf("tracking_total_keys:%d\r", 1))
		})
		start := time.Now()
		if err := a.Delete(t.Context(), key); err != nil || lease.Token == "" {
			t.Fatal(err, lease)
		}
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
		quickest = min(quickest, time.Since(start))
	}
	t.Logf("woken after %v", quickest)
	if quickest > 300*time.Millisecond {
		t.Errorf("the quickest of five was woken after %v, want at once", quickest)
	}
}

// No TTL that is read is longer than what is left.
func TestTTLIsThatOfTheServer(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	a, b := open(t, patient, server.Addr()), open(t, patient, server.Addr())
	const ttl = 10 * time.Second
	start := time.Now()
	if err := a.Set(t.Context(), "k", []byte("v"), ttl); err != nil {
		t.Fatal(err)
	}
	stored := time.Now()
	for range 200 { // the first asks for it, and the others know the clock of the server
		asked := time.Now()
		item, err := b.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		const tick = 2 * time.Millisecond
		if most := ttl - asked.Sub(stored) + tick; item.TTL > most {
			t.Fatalf("TTL is %v, want at most %v", item.TTL, most)
		}
		if least := ttl - time.Since(start) - 300*time.Millisecond; item.TTL < least { // a busy machine's
			t.Fatalf("TTL is %v, want at least %v", item.TTL, least)
		}
		many, err := b.GetMany(t.Context(), []string{"k"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := (item.TTL - many[0].TTL).Abs(); diff > 300*time.Millisecond { // a busy machine's
			t.Fatalf("TTL is %v by the clock and %v as the server says", item.TTL, many[0].TTL)
		}
	}
}

// What is loaded for want of an answer is unknown to the server: it is given up when Redis
// answers again.
func TestKeysOfFailedCallsAreToldOf(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	s := open(t, 50*time.Millisecond, server.Addr())
	eventually(t, "it is connected", func() bool { _, err := s.Get(t.Context(), "k"); return err == nil })
	var heard ear
	defer s.Subscribe(heard.listener()).Close()
	server.Pause()
	if _, err := s.Get(t.Context(), "missed"); err == nil {
		t.Error("a call succeeds while Redis is halted")
	}
	if heard.heard("missed") {
		t.Error("a key is told of before Redis answers")
	}
	server.Resume()
	eventually(t, "the key is told of", func() bool { return heard.heard("missed") || heard.losses() > 0 })

	server.Pause()
	for i := range 2000 {
		_, _ = s.Get(t.Context(), fmt.Sprint(i))
	}
	losses := heard.losses()
	server.Resume()
	eventually(t, "all is void after too many", func() bool { return heard.losses() > losses })
}

// Caches in one process that share a store hear of one another.
func TestTwoCachesOfOneStore(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	s := open(t, patient, server.Addr())
	var caches [2]*cache.Cache[string, int]
	for i := range caches {
		c, err := cache.New(100, &cache.Options[string, int]{Store: s, Namespace: "two", StoreTimeout: patient})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		caches[i] = c
	}
	for n := range 100 {
		for _, c := range caches {
			got, err := c.GetOrLoad(t.Context(), "k", func(context.Context, string) (int, error) { return n, nil })
			if err != nil || got != n {
				t.Fatalf("value is %d, %v; want %d", got, err, n)
			}
		}
		if err := caches[n%2].Invalidate(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
	}
}

// miss is what a miss costs beyond its load.
func miss(t *testing.T, c *cache.Cache[string, int], key string) time.Duration {
	t.Helper()
	var began, ended time.Time
	start := time.Now()
	_, err := c.GetOrLoad(t.Context(), key, func(context.Context, string) (int, error) {
		began = time.Now()
		time.Sleep(5 * time.Millisecond)
		ended = time.Now()
		return 1, nil
	})
	if err != nil {
		t.Errorf("an error of the store reaches who asks: %v", err)
	}
	return time.Since(start) - ended.Sub(began)
}

// Trap 9: with the store hung a miss costs its timeout a few times, and then nothing.
func TestRedisHung(t *testing.T) {
	server := testserver.Redis(t)
	s, err := rediscache.New(rueidis.ClientOption{InitAddress: []string{server.Addr()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := cache.New(10_000, &cache.Options[string, int]{Store: s, Namespace: "hung"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	eventually(t, "it is connected", func() bool {
		miss(t, c, "first")
		return c.Invalidate(t.Context(), "first") == nil
	})
	server.Pause()
	var first, then []time.Duration
	for i := range 205 {
		took := miss(t, c, fmt.Sprint(i))
		if i < 5 {
			first = append(first, took)
		} else {
			then = append(then, took)
		}
	}
	slices.Sort(then)
	t.Logf("beyond the load a miss costs %v at first, and then p50 %v, p99 %v, max %v", first, then[len(then)/2], then[len(then)*99/100], then[len(then)-1])
	// Others on the machine may take 15 ms of each, and much of one.
	costly := slices.DeleteFunc(slices.Clone(first), func(d time.Duration) bool { return d < 20*time.Millisecond })
	slices.Sort(costly)
	if len(costly) == 0 || costly[len(costly)/2] > 65*time.Millisecond {
		t.Errorf("misses cost %v beyond their loads, want some that cost at most 50ms", first)
	}
	if p90 := then[len(then)*90/100]; p90 > time.Millisecond {
		t.Errorf("a miss costs %v beyond its load when the breaker is open, want at most 1ms", p90)
	}
	server.Resume()
	took := eventually(t, "the store is used again", func() bool { return c.Set(t.Context(), "again", 1) == nil })
	t.Logf("back after %v", took)
	if took > 2*time.Second {
		t.Errorf("it takes %v until the store is used again, want at most 2s", took)
	}
}

func TestRedisRestarted(t *testing.T) {
	server := testserver.Redis(t)
	var caches [2]*cache.Cache[string, int]
	var stores [2]*rediscache.Store
	for i := range caches {
		s, err := rediscache.New(rueidis.ClientOption{InitAddress: []string{server.Addr()}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c, err := cache.New(100, &cache.Options[string, int]{Store: s, Namespace: "restart"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		caches[i], stores[i] = c, s
	}
	eventually(t, "the store is used", func() bool { return caches[0].Set(t.Context(), "k", 1) == nil })
	server.Kill()
	for i := range 50 {
		if _, err := caches[i%2].GetOrLoad(t.Context(), fmt.Sprint(i), func(context.Context, string) (int, error) { return i, nil }); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "a refusal says so", func() bool {
		_, err := stores[0].Get(t.Context(), "k")
		_, rejected := errors.AsType[*uprung.Rejection](err)
		return errors.Is(err, rediscache.ErrDown) && rejected
	})
	server.Restart()
	// What one sets another reads, and is told of when it changes.
	n := 100
	took := eventually(t, "full service", func() bool {
		n++
		if caches[0].Set(t.Context(), "k", n) != nil {
			return false
		}
		got, ok := caches[1].Get(t.Context(), "k")
		if !ok || got != n {
			return false
		}
		if caches[0].Invalidate(t.Context(), "k") != nil {
			return false
		}
		eventually(t, "a change is heard", func() bool { _, ok := caches[1].Get(t.Context(), "k"); return !ok })
		return true
	})
	t.Logf("full service after %v", took)
	if took > 2*time.Second {
		t.Errorf("full service after %v, want at most 2s", took)
	}
}

// One node that is gone does not take the keys of the others with it.
func TestOneNodeOfAClusterIsGone(t *testing.T) {
	t.Parallel()
	nodes := testserver.RedisCluster(t)
	s := open(t, 300*time.Millisecond, nodes[0].Addr(), nodes[1].Addr())
	var first, last []string // whose slots are of the first and the last node
	for i := 0; len(first) < 20 || len(last) < 20; i++ {
		key := fmt.Sprint("k", i)
		switch slot := redisx.Slot(key); {
		case slot < 5000:
			first = append(first, key)
		case slot > 12000:
			last = append(last, key)
		}
	}
	both := slices.Concat(first, last)
	for _, key := range both {
		eventually(t, "it is connected", func() bool { return s.Set(t.Context(), key, []byte(key), time.Minute) == nil })
	}
	eventually(t, "all can be had", func() bool {
		items, err := s.GetMany(t.Context(), both)
		return err == nil && string(items[len(both)-1].Value) == both[len(both)-1]
	})
	nodes[2].Kill()
	eventually(t, "the last node is given up", func() bool {
		_, err := s.GetMany(t.Context(), both)
		return errors.Is(err, rediscache.ErrDown)
	})
	for range 100 {
		items, err := s.GetMany(t.Context(), first)
		if err != nil {
			t.Fatalf("keys of another node: %v", err)
		}
		if string(items[0].Value) != first[0] {
			t.Fatalf("value is %q, want %q", items[0].Value, first[0])
		}
	}
	nodes[2].Restart()
	eventually(t, "the last node is back", func() bool { _, err := s.GetMany(t.Context(), both); return err == nil })
}

func TestNewSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := rediscache.New(rueidis.ClientOption{
		DisableCache: true, ReplicaOnly: true, OnInvalidations: func([]rueidis.RedisMessage) {},
	}, &rediscache.Options{Name: "\n", Timeout: -1})
	for _, want := range []string{
		`rediscache: Name is "\n", want 1 to 64 printable ASCII characters`,
		"rediscache: redis.DisableCache is set, want its zero value",
		"rediscache: redis.ReplicaOnly is set, want its zero value",
		"rediscache: redis.OnInvalidations is set, want its zero value",
		"InitAddress is empty",
		"Timeout is -1ns, want 1ms to 1m",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
}

// Trap 19: New succeeds without Redis, and Close ends all that goes on.
func TestCloseWithoutRedis(t *testing.T) {
	t.Parallel()
	s, err := rediscache.New(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k"); err == nil {
		t.Error("Get succeeds without Redis")
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, rediscache.ErrClosed) {
		t.Errorf("after Close the error is %v, want ErrClosed", err)
	}
	names := map[string]bool{}
	for m := range s.Metrics {
		names[m.Name] = true
	}
	if !names["uprung_rediscache_failures_total"] || s.Stats().Failures == 0 {
		t.Errorf("failures are not counted: %v", names)
	}
}
