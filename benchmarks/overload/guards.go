package overload

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/adaptivethrottler"
	"github.com/failsafe-go/failsafe-go/budget"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/sony/gobreaker/v2"
	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/client"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/retry"
	gozero "github.com/zeromicro/go-zero/core/breaker"
)

const (
	// patience is how long a client waits for a request in all, and attemptTimeout for one
	// attempt.
	patience       = 3 * time.Second
	attemptTimeout = time.Second

	attempts   = 3
	firstPause = 100 * time.Millisecond // the longest, which doubles
)

// guard is what stands between the clients and the service.
type guard struct {
	name string
	// client makes what a client sends its requests through. Each client has its own.
	client func(wire http.RoundTripper, seed uint64) (http.RoundTripper, error)
	// server makes what the service is behind. Nil means that there is nothing.
	server func(service http.Handler) (http.Handler, error)
}

const (
	serverLimit = bench.Ours + "-serverlimit"
	none        = "none"
	thrice      = "retry"
)

var guards = []guard{
	{bench.Ours, newStack, newServer},
	{serverLimit, newOnce, newLimited},
	{none, newOnce, nil},
	{thrice, func(wire http.RoundTripper, seed uint64) (http.RoundTripper, error) {
		return &repeating{once{wire}, seed}, nil
	}, nil},
	{"gobreaker", newGobreaker, nil},
	{"failsafe-go", newFailsafe, newFailsafeServer},
	{"go-zero", newGozero, nil},
}

// names returns those of all guards.
func names() []string {
	all := make([]string, len(guards))
	for i, g := range guards {
		all[i] = g.name
	}
	return all
}

// newStack has the defaults of package client, but for the times, which are those of
// all, and seeds.
func newStack(wire http.RoundTripper, seed uint64) (http.RoundTripper, error) {
	return client.NewTransport(lb.Addrs("service:80"), &client.Options{
		Base: wire, Deadline: patience, AttemptTimeout: attemptTimeout,
		Retry: &retry.Options{Seed: seed}, LB: &lb.Options{Seed: seed},
		Breaker: &breaker.Options{Seed: seed}, Throttle: &breaker.ThrottleOptions{Seed: seed},
	})
}

// newServer is what a server has to go with it.
func newServer(service http.Handler) (http.Handler, error) {
	limited, err := newLimited(service)
	if err != nil {
		return nil, err
	}
	d, err := deadline.New(patience, &deadline.Options{Trust: func(*http.Request) bool { return true }})
	if err != nil {
		return nil, err
	}
	return d.Middleware(limited), nil
}

// newLimited is a limit with its defaults, and nothing else.
func newLimited(service http.Handler) (http.Handler, error) {
	limit, err := ratelimit.NewConcurrency(ratelimit.Adaptive(), nil)
	if err != nil {
		return nil, err
	}
	return limit.Middleware(service), nil
}

// once sends a request one time, for so long as an attempt may take.
type once struct{ next http.RoundTripper }

func newOnce(wire http.RoundTripper, _ uint64) (http.RoundTripper, error) { return once{wire}, nil }

func (o once) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), attemptTimeout)
	defer cancel() // what is answered is in memory
	return o.next.RoundTrip(r.WithContext(ctx))
}

// repeating sends what fails again, as is often seen: after a pause that doubles, a
// random part of it. What is refused on this side is not.
type repeating struct {
	next http.RoundTripper
	seed uint64
}

func (s *repeating) RoundTrip(r *http.Request) (*http.Response, error) {
	random := rand.New(rand.NewPCG(s.seed, callOf(r).number))
	for attempt := 1; ; attempt++ {
		resp, err := s.next.RoundTrip(r)
		if err == nil && resp.StatusCode < 500 || errors.Is(err, errRefused) || attempt == attempts || r.Context().Err() != nil {
			return resp, err
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		time.Sleep(time.Duration(random.Float64() * float64(firstPause<<(attempt-1))))
	}
}

// errRefused is the error of requests that a guard has not sent.
var errRefused = errors.New("refused")

var errStatus = errors.New("the status is an error")

// newGobreaker is a breaker with its defaults around each of the attempts.
func newGobreaker(wire http.RoundTripper, seed uint64) (http.RoundTripper, error) {
	cb := gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{}) //nolint:bodyclose // a breaker of responses is none
	attempt := once{wire}
	return &repeating{roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := cb.Execute(func() (*http.Response, error) {
			resp, err := attempt.RoundTrip(r)
			if err == nil && resp.StatusCode >= 500 {
				_ = resp.Body.Close()
				return nil, errStatus
			}
			return resp, err
		})
		if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
			return nil, errRefused
		}
		return resp, err
	}), seed}, nil
}

// newGozero is a breaker around each of the attempts, which counts as the client of its
// package httpc does.
func newGozero(wire http.RoundTripper, seed uint64) (http.RoundTripper, error) {
	brk := gozero.NewBreaker()
	attempt := once{wire}
	return &repeating{roundTripper(func(r *http.Request) (resp *http.Response, err error) {
		err = brk.DoWithAcceptableCtx(r.Context(), func() error {
			resp, err = attempt.RoundTrip(r) //nolint:bodyclose // it is closed by who sends the request
			return err
		}, func(err error) bool {
			if err == nil {
				return resp.StatusCode < http.StatusInternalServerError
			}
			var network net.Error
			return !errors.Is(err, context.DeadlineExceeded) && (errors.Is(err, context.Canceled) || !errors.As(err, &network))
		})
		if errors.Is(err, gozero.ErrServiceUnavailable) {
			return nil, errRefused
		}
		return resp, err
	}), seed}, nil
}

// newFailsafe has policies that are about overload: retries with their budget, the
// adaptive throttler, which counts what retries count, and a timeout for each attempt.
func newFailsafe(wire http.RoundTripper, _ uint64) (http.RoundTripper, error) {
	//nolint:bodyclose // a policy for responses is none
	retries := failsafehttp.NewRetryPolicyBuilder().WithBackoff(firstPause, patience).WithJitterFactor(0.5).
		WithBudget(budget.New()).AbortOnErrors(adaptivethrottler.ErrExceeded).ReturnLastFailure().Build()
	//nolint:bodyclose // likewise
	throttler := adaptivethrottler.NewBuilder[*http.Response]().HandleIf(func(resp *http.Response, err error) bool {
		return err != nil || resp != nil && (resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests)
	}).Build()
	return failsafehttp.NewRoundTripper(wire, retries, throttler, timeout.New[*http.Response](attemptTimeout)), nil
}

// newFailsafeServer is its adaptive limiter with its defaults.
func newFailsafeServer(service http.Handler) (http.Handler, error) {
	return failsafehttp.NewHandler(service, adaptivelimiter.NewWithDefaults[*http.Response]()), nil //nolint:bodyclose // a policy for responses is none
}

// roundTripper is a function as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
