package limittest_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/limittest"
)

func newLocal(s limittest.Settings) (limittest.Limiter, error) {
	l, err := ratelimit.New(s.Limit, &ratelimit.Options{LimitFor: s.LimitFor, Mode: s.Mode})
	if err != nil {
		return nil, err
	}
	return limittest.Local(l), nil
}

func TestTheLimiterInTheProcessConforms(t *testing.T) {
	t.Parallel()
	limittest.Run(t, newLocal)
}

// generous grants one event more than it should, to each caller of Take.
type generous struct{ limittest.Limiter }

func (g generous) Take(ctx context.Context, key string, n int64) (ratelimit.Result, error) {
	res, err := g.Limiter.Take(ctx, key, n)
	res.Allowed, res.Granted = true, n
	return res, err
}

// stubborn gives nothing back.
type stubborn struct{ limittest.Limiter }

func (stubborn) Refund(context.Context, string, int64) error { return nil }

// forgetful has every bucket full after a change.
type forgetful struct {
	limittest.Limiter
	renew func() limittest.Limiter
}

func (f *forgetful) SetLimit(limit ratelimit.Limit) error {
	f.Limiter = f.renew()
	return f.Limiter.SetLimit(limit)
}

// The checks themselves can fail.
func TestWhatDoesNotConformIsFound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(limittest.Limiter, limittest.Settings) limittest.Limiter
		want  []string
	}{
		{"generous", func(l limittest.Limiter, _ limittest.Settings) limittest.Limiter { return generous{l} },
			[]string{"burst", "rate", "concurrent", "keys", "cost", "exceeding", "negative", "none", "reset"}},
		{"stubborn", func(l limittest.Limiter, _ limittest.Settings) limittest.Limiter { return stubborn{l} },
			[]string{"refund", "negative"}},
		{"forgetful", func(l limittest.Limiter, s limittest.Settings) limittest.Limiter {
			return &forgetful{l, func() limittest.Limiter {
				l, err := newLocal(s)
				if err != nil {
					t.Error(err)
				}
				return l
			}}
		}, []string{"change"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var found []string
			for _, f := range limittest.Check(t.Context(), func(s limittest.Settings) (limittest.Limiter, error) {
				l, err := newLocal(s)
				if err != nil {
					return nil, err
				}
				return tt.spoil(l, s), nil
			}) {
				found = append(found, f.Check)
			}
			for _, want := range tt.want {
				if !slices.Contains(found, want) {
					t.Errorf("check %s finds nothing; found: %v", want, found)
				}
			}
		})
	}
}

func Example() {
	failures := limittest.Check(context.Background(), func(s limittest.Settings) (limittest.Limiter, error) {
		l, err := ratelimit.New(s.Limit, &ratelimit.Options{LimitFor: s.LimitFor, Mode: s.Mode})
		if err != nil {
			return nil, err
		}
		return limittest.Local(l), nil
	})
	fmt.Println(failures)
	// Output: []
}
