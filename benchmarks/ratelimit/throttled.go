package ratelimit

import (
	"context"
	"net/http"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
)

func (q quota) throttled(maxKeys int) (*throttled.GCRARateLimiterCtx, error) {
	store, err := memstore.NewCtx(maxKeys)
	if err != nil {
		return nil, err
	}
	l, err := throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate:  throttled.PerDuration(int(q.events), q.period),
		MaxBurst: int(q.events) - 1, // beyond the first
	})
	if err != nil {
		return nil, err
	}
	l.SetMaxCASAttemptsLimit(maxAttempts)
	return l, nil
}

// maxAttempts is how often throttled tries to charge a key that others charge
// at the same time. After its default of 10 it fails with an error, which two
// callers of one key see in a thousandth of their calls.
const maxAttempts = 10_000

// newThrottled bounds the store, as its documentation shows it.
func newThrottled(q quota, keys int) (limiter, error) {
	return throttledLimiter(q, max(keys, defaultCapacity))
}

// newThrottledUnbounded does without a bound, which is faster.
func newThrottledUnbounded(q quota, _ int) (limiter, error) { return throttledLimiter(q, 0) }

func throttledLimiter(q quota, maxKeys int) (limiter, error) {
	l, err := q.throttled(maxKeys)
	if err != nil {
		return limiter{}, err
	}
	ctx := context.Background()
	return limiter{allow: func(key string) bool {
		limited, _, err := l.RateLimitCtx(ctx, key, 1)
		return !limited && err == nil
	}}, nil
}

func wrapThrottled(q quota, _ bool, next http.Handler) (http.Handler, error) {
	l, err := q.throttled(defaultCapacity)
	if err != nil {
		return nil, err
	}
	h := throttled.HTTPRateLimiterCtx{RateLimiter: l, VaryBy: &throttled.VaryBy{RemoteAddr: true}}
	return h.RateLimit(next), nil
}
