package ratelimit

import (
	"net/http"

	"github.com/didip/tollbooth/v8"
	buckets "github.com/didip/tollbooth/v8/limiter"
)

func (q quota) tollbooth() *buckets.Limiter {
	return tollbooth.NewLimiter(float64(q.events)/q.period.Seconds(), nil).SetBurst(int(q.events))
}

func newTollbooth(q quota, _ int) (limiter, error) {
	l := q.tollbooth()
	return limiter{allow: func(key string) bool { return tollbooth.LimitByKeys(l, []string{key}) == nil }}, nil
}

func wrapTollbooth(q quota, _ bool, next http.Handler) (http.Handler, error) {
	l := q.tollbooth().SetIPLookup(buckets.IPLookup{Name: "RemoteAddr"})
	return tollbooth.LimitHandler(l, next), nil
}
