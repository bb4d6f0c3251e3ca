package ratelimit

import (
	"context"
	"net/http"

	window "github.com/ulule/limiter/v3"
	"github.com/ulule/limiter/v3/drivers/middleware/stdlib"
	"github.com/ulule/limiter/v3/drivers/store/memory"
)

func (q quota) ulule() *window.Limiter {
	return window.New(memory.NewStore(), window.Rate{Period: q.period, Limit: q.events})
}

func newUlule(q quota, _ int) (limiter, error) {
	l, ctx := q.ulule(), context.Background()
	return limiter{allow: func(key string) bool {
		state, err := l.Get(ctx, key)
		return err == nil && !state.Reached
	}}, nil
}

func wrapUlule(q quota, _ bool, next http.Handler) (http.Handler, error) {
	return stdlib.NewMiddleware(q.ulule()).Handler(next), nil
}
