package redisx_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/internal/redisx"
	"github.com/uprung/uprung/internal/testserver"
)

func newClient(t *testing.T, timeout time.Duration, addrs ...string) *redisx.Client {
	t.Helper()
	c, err := redisx.New(redisx.Options{Redis: rueidis.ClientOption{InitAddress: addrs, DisableCache: true}, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func incr(key string) func(context.Context, rueidis.Client) error {
	return func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Incr().Key(key).Build()).Error()
	}
}

// await calls f until it succeeds, and returns how long that took.
func await(t *testing.T, f func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(start)
		}
		if time.Since(start) > 10*time.Second {
			t.Fatalf("still fails after 10s: %v", err)
		}
		time.Sleep(time.Millisecond) // real servers: there is nothing to wait for
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := redisx.New(redisx.Options{Timeout: -1})
	for _, want := range []string{
		"Redis.InitAddress is empty, want at least one host:port",
		"Timeout is -1ns, want 1ms to 1m",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
}

func TestConnectsWhenRedisIsThere(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	server.Kill()
	c := newClient(t, 200*time.Millisecond, server.Addr())
	for range 5 {
		if err := c.Do(t.Context(), "k", incr("k")); err == nil {
			t.Fatal("a call succeeds without Redis")
		}
	}
	if err := c.Do(t.Context(), "k", incr("k")); !errors.Is(err, redisx.ErrDown) {
		t.Errorf("error is %v, want ErrDown", err)
	}
	server.Restart()
	if took := await(t, func() error { return c.Do(t.Context(), "k", incr("k")) }); took > 2*time.Second {
		t.Errorf("it takes %v until a call succeeds, want at most 2s", took)
	}
}

func TestNobodyWaitsLongerThanTheTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 200 * time.Millisecond
	server := testserver.Redis(t)
	c := newClient(t, timeout, server.Addr())
	await(t, func() error { return c.Do(t.Context(), "k", incr("k")) })

	server.Pause()
	var longest atomic.Int64
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for range 50 {
				start := time.Now()
				if err := c.Do(t.Context(), "k", incr("k")); err == nil {
					t.Error("a call succeeds while Redis is halted")
				}
				if took := int64(time.Since(start)); took > longest.Load() {
					longest.Store(took)
				}
			}
		})
	}
	callers.Wait()
	if longest := time.Duration(longest.Load()); longest > timeout+300*time.Millisecond { // a busy machine's
		t.Errorf("a call took %v, want at most %v", longest, timeout)
	}
	start := time.Now()
	for range 100 {
		_ = c.Do(t.Context(), "k", incr("k"))
	}
	if took := time.Since(start); took > timeout {
		t.Errorf("a hundred calls took %v while it is down, want next to nothing", took)
	}
	server.Resume()
	if took := await(t, func() error { return c.Do(t.Context(), "k", incr("k")) }); took > 2*time.Second {
		t.Errorf("it takes %v until a call succeeds, want at most 2s", took)
	}
}

func TestWhatTheCallerEndsIsNoFailure(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	c := newClient(t, 5*time.Second, server.Addr())
	await(t, func() error { return c.Do(t.Context(), "k", incr("k")) })
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		err := c.Do(ctx, "k", func(ctx context.Context, _ rueidis.Client) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("error is %v, want context.Canceled", err)
		}
	}
	if err := c.Do(t.Context(), "k", incr("k")); err != nil {
		t.Error(err)
	}
}

func TestInAClusterANodeFailsAlone(t *testing.T) {
	t.Parallel()
	nodes := testserver.RedisCluster(t)
	c := newClient(t, 300*time.Millisecond, nodes[0].Addr())
	// The slots of these keys are of the first and the last node.
	keyOf := func(low, high uint16) string {
		for i := range 1000 {
			key := "k" + string(rune('a'+i%26)) + string(rune('a'+i/26))
			if slot := redisx.Slot(key); slot >= low && slot < high {
				return key
			}
		}
		t.Fatal("no key")
		return ""
	}
	first, last := keyOf(0, 1024), keyOf(15360, 16384)
	for _, key := range []string{first, last} {
		await(t, func() error { return c.Do(t.Context(), key, incr(key)) })
	}
	nodes[2].Kill()
	for range 20 {
		if err := c.Do(t.Context(), last, incr(last)); err == nil {
			t.Fatal("a call to a node that is gone succeeds")
		}
	}
	if err := c.Do(t.Context(), last, incr(last)); !errors.Is(err, redisx.ErrDown) {
		t.Errorf("error is %v, want ErrDown", err)
	}
	for range 20 {
		if err := c.Do(t.Context(), first, incr(first)); err != nil {
			t.Fatalf("a call to another node: %v", err)
		}
	}
	nodes[2].Restart()
	await(t, func() error { return c.Do(t.Context(), last, incr(last)) })
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	// A listener that accepts and never answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	c := newClient(t, 20*time.Millisecond, silent.Addr().String())
	if err := c.Do(t.Context(), "k", incr("k")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v, want DeadlineExceeded", err)
	}
	start := time.Now()
	_ = c.Close()
	_ = c.Close()
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
	if err := c.Do(t.Context(), "k", incr("k")); !errors.Is(err, redisx.ErrClosed) {
		t.Errorf("error is %v, want ErrClosed", err)
	}
}

func TestSlot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		key  string
		want uint16
	}{
		// CRC16 of "123456789" is 0x31C3 (Redis Cluster specification, appendix A).
		{"123456789", 0x31C3},
		{"{123456789}.following", 0x31C3},
		{"foo{123456789}{zap}", 0x31C3},
		{"foo", 12182}, // as CLUSTER KEYSLOT answers
		{"", 0},
	} {
		if got := redisx.Slot(tt.key); got != tt.want {
			t.Errorf("Slot(%q) = %d, want %d", tt.key, got, tt.want)
		}
	}
	if a, b := redisx.Slot("{}a"), redisx.Slot("{}b"); a == b {
		t.Error("an empty tag is taken for one")
	}
}
