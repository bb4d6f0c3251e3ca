package redislimit_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/testserver"
	"github.com/uprung/uprung/middlewaretest"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/limittest"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

// conform returns a factory of limiters on a store.
func conform(s *redislimit.Store, o redislimit.Options) limittest.Factory {
	return func(settings limittest.Settings) (limittest.Limiter, error) {
		o := o
		o.Options = ratelimit.Options{Name: name(), LimitFor: settings.LimitFor, Mode: settings.Mode}
		l, err := redislimit.New(settings.Limit, s, &o)
		return l, err
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := redis(t)
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		limittest.Run(t, conform(newStore(t, patient, server.Addr()), redislimit.Options{}))
	})
	t.Run("always asks", func(t *testing.T) {
		t.Parallel()
		limittest.Run(t, conform(newStore(t, patient, server.Addr()), redislimit.Options{DenyAge: -1}))
	})
	t.Run("runner", func(t *testing.T) {
		t.Parallel()
		s, err := redislimit.NewRunnerStore(runner(t, server.Addr()), &redislimit.StoreOptions{Timeout: patient})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		limittest.Run(t, conform(s, redislimit.Options{}))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		limittest.Run(t, conform(newStore(t, patient, testserver.RedisCluster(t)[0].Addr()), redislimit.Options{}))
	})
}

// Without Redis it is a limiter in the process.
func TestConformanceWithoutRedis(t *testing.T) {
	t.Parallel()
	server := redis(t)
	server.Kill()
	limittest.Run(t, func(settings limittest.Settings) (limittest.Limiter, error) {
		l, err := conform(newStore(t, patient, server.Addr()), redislimit.Options{})(settings)
		return withoutRedis{l}, err
	})
}

// withoutRedis gives back and resets in the process. That Redis is not told is an error
// that is known here.
type withoutRedis struct{ limittest.Limiter }

func known(err error) error {
	if errors.Is(err, ratelimit.ErrUnavailable) {
		return nil
	}
	return err
}

func (w withoutRedis) Refund(ctx context.Context, key string, n int64) error {
	return known(w.Limiter.Refund(ctx, key, n))
}

func (w withoutRedis) Reset(ctx context.Context, key string) error {
	return known(w.Limiter.Reset(ctx, key))
}

func everybody(*http.Request) (string, bool) { return "everybody", true }

func TestMiddlewareKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	server := redis(t)
	s := newStore(t, patient, server.Addr())
	limiter := func(limit ratelimit.Limit, o ratelimit.Options) *redislimit.Limiter {
		o.Name, o.Key = name(), everybody
		return newLimiter(t, limit, s, redislimit.Options{Options: o})
	}
	for name, o := range map[string]ratelimit.Options{
		"ietf": {}, "none": {Headers: ratelimit.HeadersNone}, "legacy": {Headers: ratelimit.HeadersLegacy},
		"count failures": {Count: ratelimit.Failures},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spent := limiter(ratelimit.PerHour(1), o)
			take(t, spent, "everybody", 1)
			middlewaretest.Run(t, limiter(ratelimit.PerSecond(1e6), o).Middleware, &middlewaretest.Options{Refusing: spent.Middleware})
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		spent := limiter(ratelimit.PerHour(1), ratelimit.Options{})
		take(t, spent, "everybody", 1)
		wide := func() *redislimit.Limiter { return limiter(ratelimit.PerSecond(1e6), ratelimit.Options{}) }
		passing := uprung.Must(redislimit.All(wide(), wide()))
		refusing := uprung.Must(redislimit.All(wide(), spent))
		middlewaretest.Run(t, passing.Middleware, &middlewaretest.Options{Refusing: refusing.Middleware})
	})
	t.Run("closed", func(t *testing.T) {
		t.Parallel()
		gone := redis(t)
		gone.Kill()
		refusing := newLimiter(t, ratelimit.PerSecond(1e6), newStore(t, patient, gone.Addr()), redislimit.Options{Down: redislimit.Closed})
		middlewaretest.Run(t, limiter(ratelimit.PerSecond(1e6), ratelimit.Options{}).Middleware, &middlewaretest.Options{Refusing: refusing.Middleware})
	})
}
