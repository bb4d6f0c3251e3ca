package redislimit_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/internal/testserver"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

// patient is a timeout for tests that are not about it, on a machine that is busy.
const patient = 10 * time.Second

func newStore(t *testing.T, timeout time.Duration, addrs ...string) *redislimit.Store {
	t.Helper()
	s, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: addrs}, &redislimit.StoreOptions{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newLimiter(t *testing.T, limit ratelimit.Limit, s *redislimit.Store, o redislimit.Options) *redislimit.Limiter {
	t.Helper()
	l, err := redislimit.New(limit, s, &o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var names atomic.Int64

// name returns one that no other limiter has.
func name() string { return fmt.Sprintf("limit-%d", names.Add(1)) }

func named(name string) ratelimit.Options { return ratelimit.Options{Name: name} }

func take(t *testing.T, l *redislimit.Limiter, key string, n int64) ratelimit.Result {
	t.Helper()
	res, err := l.Take(t.Context(), key, n)
	if err != nil {
		t.Fatalf("Take(%q, %d): %v", key, n, err)
	}
	return res
}

// runner is a client of a user's own.
func runner(t *testing.T, addr string) redislimit.Runner {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableRetry: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	script := rueidis.NewLuaScript(redislimit.Script)
	return redislimit.RunnerFunc(func(ctx context.Context, keys []string, args ...any) ([]int64, error) {
		var texts []string
		for _, arg := range args {
			texts = append(texts, arg.(string))
		}
		return script.Exec(ctx, client, keys, texts).AsIntSlice()
	})
}

func redis(t *testing.T, settings ...string) *testserver.RedisServer {
	t.Helper()
	return testserver.Redis(t, settings...)
}
