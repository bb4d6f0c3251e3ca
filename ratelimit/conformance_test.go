package ratelimit_test

import (
	"net/http"
	"testing"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/middlewaretest"
	"github.com/uprung/uprung/ratelimit"
)

// everybody is one key for all requests.
func everybody(*http.Request) (string, bool) { return "everybody", true }

// spent returns options and a limiter whose only event of the hour is taken.
func spent(t *testing.T, o ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	o.Key = everybody
	l, err := ratelimit.New(ratelimit.PerHour(1), &o)
	if err != nil {
		t.Fatal(err)
	}
	if !l.Allow("everybody") {
		t.Fatal("the first event is denied")
	}
	return l
}

func wide(t *testing.T, o ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	o.Key = everybody
	l, err := ratelimit.New(ratelimit.PerSecond(1e6), &o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestMiddlewareKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]ratelimit.Options{
		"ietf":           {},
		"none":           {Headers: ratelimit.HeadersNone},
		"legacy":         {Headers: ratelimit.HeadersLegacy},
		"count failures": {Count: ratelimit.Failures},
		"sliding window": {Algorithm: ratelimit.SlidingWindow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusing := spent(t, o)
			passing := wide
			if o.Algorithm == ratelimit.SlidingWindow {
				passing = func(t *testing.T, o ratelimit.Options) *ratelimit.Limiter {
					o.Key = everybody
					return uprung.Must(ratelimit.New(ratelimit.PerSecond(1e5), &o))
				}
			}
			middlewaretest.Run(t, passing(t, o).Middleware, &middlewaretest.Options{Refusing: refusing.Middleware})
		})
	}
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		first, second := ratelimit.Options{Name: "a", Count: ratelimit.Failures}, ratelimit.Options{Name: "b"}
		passing := uprung.Must(ratelimit.All(wide(t, first), wide(t, second)))
		refusing := uprung.Must(ratelimit.All(wide(t, first), spent(t, second)))
		middlewaretest.Run(t, passing.Middleware, &middlewaretest.Options{Refusing: refusing.Middleware})
	})
}

func TestTransportKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	// Among the kit's answers are some with Retry-After, which hold back their key:
	// here every URL is one. What can never be granted is refused at once; what can
	// is waited for.
	o := &ratelimit.Options{Key: func(r *http.Request) (string, bool) { return r.URL.String(), true }}
	passing := uprung.Must(ratelimit.New(ratelimit.PerSecond(1000), o))
	refusing := uprung.Must(ratelimit.New(ratelimit.Limit{}, o))
	middlewaretest.RunTransport(t, passing.Transport, &middlewaretest.TransportOptions{Refusing: refusing.Transport})
}

func TestConcurrencyKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limit ratelimit.InFlight
		queue int
	}{
		"fixed":             {ratelimit.AtMost(1000), 0},
		"adaptive, a queue": {ratelimit.InFlight{Min: 100, Max: 1000}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			passing := uprung.Must(ratelimit.NewConcurrency(tt.limit, &ratelimit.ConcurrencyOptions{Queue: tt.queue}))
			refusing := uprung.Must(ratelimit.NewConcurrency(ratelimit.AtMost(1), nil))
			if _, err := refusing.Acquire(t.Context(), ratelimit.Claim{}); err != nil {
				t.Fatal(err)
			}
			middlewaretest.Run(t, passing.Middleware, &middlewaretest.Options{Refusing: refusing.Middleware})
			middlewaretest.RunTransport(t, passing.Transport, &middlewaretest.TransportOptions{Refusing: refusing.Transport})
		})
	}
}
