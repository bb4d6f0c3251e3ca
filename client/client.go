package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/retry"
)

// Options are the settings of a [Transport]. The zero value of each field is its default,
// which the package comment lists. Those of the parts have their defaults where this says
// nothing else; their names are that of the transport.
type Options struct {
	// Name tells this client from others in figures and refusals: at most 64 printable
	// ASCII characters. Empty means "default".
	Name string

	// Base is what requests are sent through at last, as for [lb.Balancer.Transport]. Nil
	// means its default.
	Base http.RoundTripper

	// Deadline bounds a request with all its attempts. A shorter one of its context
	// counts. Zero means 10s, negative none.
	Deadline time.Duration

	// AttemptTimeout bounds one attempt, up to the headers of its response. It should be
	// what the service takes at the very most, and well below Deadline. Zero means 2s, or
	// Deadline if that is less; negative none.
	AttemptTimeout time.Duration

	// HedgeAt is the quantile of response times after which a second request is sent.
	// Zero means 0.95, negative that there are no hedges.
	HedgeAt float64

	// InFlight is how many requests may be in progress at once. Zero means 1000, fixed.
	InFlight ratelimit.InFlight

	// Retry are the settings of attempts beyond AttemptTimeout and HedgeAt, LB those of
	// the choice of an endpoint, Breaker those of the breaker of each endpoint, Throttle
	// those of the throttle, and Limit those of what is beyond InFlight. Nil means the
	// defaults.
	Retry    *retry.Options
	LB       *lb.Options
	Breaker  *breaker.Options
	Throttle *breaker.ThrottleOptions
	Limit    *ratelimit.ConcurrencyOptions
}

// Transport is an [http.RoundTripper] of the recommended stack. It is safe for concurrent
// use. Use [NewTransport].
type Transport struct {
	name     string
	top      http.RoundTripper
	deadline *deadline.Deadline // nil if there is none
	retrier  *retry.Retrier
	balancer *lb.Balancer
	breakers *breaker.Group[string]
	throttle *breaker.Throttle
	limit    *ratelimit.Concurrency
}

// NewTransport returns a transport for one service, whose endpoints the resolver finds.
// Nil options are the defaults. The error names every field that is not valid, of this
// package and of the parts.
func NewTransport(resolver lb.Resolver, o *Options) (*Transport, error) {
	if o == nil {
		o = &Options{}
	}
	t := &Transport{name: cmp.Or(o.Name, "default")}
	var errs []error
	if err := option.CheckName("Name", t.name); err != nil {
		errs = append(errs, fmt.Errorf("client: %w", err))
	}
	total := cmp.Or(o.Deadline, 10*time.Second)
	attempt := o.AttemptTimeout
	if attempt == 0 {
		if attempt = 2 * time.Second; total > 0 {
			attempt = min(attempt, total)
		}
	}
	if total > 0 && attempt > total {
		errs = append(errs, fmt.Errorf("client: AttemptTimeout is %v, want at most Deadline, %v", attempt, total))
	}
	if o.HedgeAt >= 1 {
		errs = append(errs, fmt.Errorf("client: HedgeAt is %v, want less than 1", o.HedgeAt))
	}
	keep := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	patience := max(attempt, 0)

	var err error
	group := &breaker.GroupOptions[string]{}
	if o.Breaker != nil {
		group.Breaker = *o.Breaker
	}
	group.Breaker.Name = t.name
	group.Breaker.Patience = cmp.Or(group.Breaker.Patience, patience)
	t.breakers, err = breaker.NewGroup(group)
	keep(err)

	throttle := breaker.ThrottleOptions{}
	if o.Throttle != nil {
		throttle = *o.Throttle
	}
	throttle.Name = t.name
	t.throttle, err = breaker.NewThrottle(&throttle)
	keep(err)

	limit := ratelimit.ConcurrencyOptions{}
	if o.Limit != nil {
		limit = *o.Limit
	}
	limit.Name = t.name
	t.limit, err = ratelimit.NewConcurrency(cmp.Or(o.InFlight, ratelimit.AtMost(1000)), &limit)
	keep(err)

	balance := lb.Options{}
	if o.LB != nil {
		balance = *o.LB
	}
	balance.Name = t.name
	balance.Patience = cmp.Or(balance.Patience, patience)
	eligible, between := balance.Eligible, balance.Endpoint
	balance.Eligible = func(id string) bool { return t.breakers.Eligible(id) && (eligible == nil || eligible(id)) }
	balance.Endpoint = func(id string, next http.RoundTripper) http.RoundTripper {
		if between != nil {
			next = between(id, next)
		}
		return &guarded{id: id, group: t.breakers, next: t.throttle.Transport(t.limit.Transport(next))}
	}
	t.balancer, err = lb.New(resolver, &balance)
	keep(err)

	attempts := retry.Options{}
	if o.Retry != nil {
		attempts = *o.Retry
	}
	attempts.Name = t.name
	attempts.AttemptTimeout = max(attempt, 0)
	attempts.HedgeAt = max(cmp.Or(o.HedgeAt, 0.95), 0)
	t.retrier, err = retry.New(&attempts)
	keep(err)

	if total > 0 {
		t.deadline, err = deadline.New(total, &deadline.Options{Name: t.name})
		keep(err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t.top = t.retrier.Transport(t.balancer.Transport(o.Base))
	if t.deadline != nil {
		t.top = t.deadline.Transport(t.top)
	}
	return t, nil
}

// Run resolves again and again, and probes endpoints if LB says so, until ctx ends; then it
// returns nil. Without it the endpoints are those that were found for the first request. It
// is an error to call it while it runs.
func (t *Transport) Run(ctx context.Context) error { return t.balancer.Run(ctx) }

// RoundTrip sends a request.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) { return t.top.RoundTrip(r) }

// Unwrap returns the first part of the stack, for [uprung.VetTransport] and
// [uprung.ExplainTransport].
func (t *Transport) Unwrap() http.RoundTripper { return t.top }

// Layer says that the stack begins here.
func (t *Transport) Layer() uprung.Layer { return uprung.Layer{Kind: KindClient, Name: t.name} }

// KindClient is the kind of the layer of a [Transport].
const KindClient uprung.Kind = "client"

// CloseIdleConnections closes those that are not in use, for
// [http.Client.CloseIdleConnections].
func (t *Transport) CloseIdleConnections() {
	if top, ok := t.top.(interface{ CloseIdleConnections() }); ok {
		top.CloseIdleConnections()
	}
}

// Stats are the figures of the parts.
type Stats struct {
	// Deadline is zero if there is none.
	Deadline deadline.Stats
	Retry    retry.Stats
	LB       lb.Stats
	Breakers breaker.GroupStats
	Throttle breaker.ThrottleStats
	Limit    ratelimit.ConcurrencyStats
}

// Stats returns a snapshot.
func (t *Transport) Stats() Stats {
	s := Stats{Retry: t.retrier.Stats(), LB: t.balancer.Stats(), Breakers: t.breakers.Stats(), Throttle: t.throttle.Stats(), Limit: t.limit.Stats()}
	if t.deadline != nil {
		s.Deadline = t.deadline.Stats()
	}
	return s
}

// Metrics yields the figures of all parts. It makes a Transport an [uprung.Source].
func (t *Transport) Metrics(yield func(uprung.Metric) bool) {
	sources := []uprung.Source{t.retrier, t.balancer, t.breakers, t.throttle, t.limit}
	if t.deadline != nil {
		sources = append(sources, t.deadline)
	}
	for _, source := range sources {
		for m := range source.Metrics {
			if !yield(m) {
				return
			}
		}
	}
}

// Saturation is the share of InFlight that is in use, from 0 to 1, for health.Scale.
func (t *Transport) Saturation() float64 { return t.limit.Saturation() }

// guarded is the breaker of an endpoint. The group may forget it and make it anew, so
// that it is asked for each request.
type guarded struct {
	id    string
	group *breaker.Group[string]
	next  http.RoundTripper
}

// Unwrap returns the round tripper below.
func (g *guarded) Unwrap() http.RoundTripper { return g.next }

// Layer describes the breakers.
func (g *guarded) Layer() uprung.Layer { return g.group.Layer() }

// RoundTrip sends a request, or refuses it.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	return g.group.Breaker(g.id).Transport(g.next).RoundTrip(r)
}
