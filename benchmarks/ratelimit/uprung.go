package ratelimit

import (
	"net/http"

	"github.com/uprung/uprung/ratelimit"
)

func (q quota) limit() ratelimit.Limit {
	return ratelimit.Limit{Events: q.events, Period: q.period}
}

// newUprung has default settings, except for the capacity where there are more
// keys than it holds by default.
func newUprung(q quota, keys int) (limiter, error) {
	l, err := ratelimit.New(q.limit(), &ratelimit.Options{Capacity: max(keys, ratelimit.DefaultCapacity)})
	if err != nil {
		return limiter{}, err
	}
	return limiter{allow: l.Allow}, nil
}

// newUprungAll is a group of two limiters.
func newUprungAll(q quota, _ int) (limiter, error) {
	first, err := ratelimit.New(q.limit(), &ratelimit.Options{Name: "first"})
	if err != nil {
		return limiter{}, err
	}
	second, err := ratelimit.New(q.limit(), &ratelimit.Options{Name: "second"})
	if err != nil {
		return limiter{}, err
	}
	group, err := ratelimit.All(first, second)
	if err != nil {
		return limiter{}, err
	}
	return limiter{allow: group.Allow}, nil
}

func wrapUprung(q quota, headers bool, next http.Handler) (http.Handler, error) {
	o := &ratelimit.Options{} // the key is the address of the socket's peer
	if !headers {
		o.Headers = ratelimit.HeadersNone
	}
	l, err := ratelimit.New(q.limit(), o)
	if err != nil {
		return nil, err
	}
	return l.Middleware(next), nil
}
