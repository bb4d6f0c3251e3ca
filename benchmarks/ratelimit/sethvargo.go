package ratelimit

import (
	"context"
	"net/http"

	store "github.com/sethvargo/go-limiter"
	"github.com/sethvargo/go-limiter/httplimit"
	"github.com/sethvargo/go-limiter/memorystore"
)

func (q quota) sethvargo() (store.Store, error) {
	return memorystore.New(&memorystore.Config{Tokens: uint64(q.events), Interval: q.period})
}

func newSethvargo(q quota, _ int) (limiter, error) {
	s, err := q.sethvargo()
	if err != nil {
		return limiter{}, err
	}
	ctx := context.Background()
	return limiter{
		allow: func(key string) bool {
			_, _, _, ok, err := s.Take(ctx, key)
			return ok && err == nil
		},
		close: func() { _ = s.Close(ctx) }, // its error is always nil
	}, nil
}

func wrapSethvargo(q quota, _ bool, next http.Handler) (http.Handler, error) {
	s, err := q.sethvargo()
	if err != nil {
		return nil, err
	}
	m, err := httplimit.NewMiddleware(s, httplimit.IPKeyFunc())
	if err != nil {
		return nil, err
	}
	return m.Handle(next), nil
}
