package breaker

import (
	"context"
	"errors"
	"time"

	"github.com/uprung/uprung"
)

// Do calls f with ctx, if b lets it, and returns what f returns, or a
// [*uprung.Rejection]. What the error of f means, Options.Classify says. A panic of f
// and [runtime.Goexit] are failures, and go on.
func Do[T any](ctx context.Context, b *Breaker, f func(ctx context.Context) (T, error)) (T, error) {
	p, err := b.allow(hurried(ctx), nil)
	if err != nil {
		var none T
		return none, err
	}
	returned := false
	defer func() {
		if !returned {
			p.Done(uprung.Failure)
		}
	}()
	value, err := f(ctx)
	returned = true
	p.Done(b.classify(ctx, err, p.start))
	return value, err
}

// DoOr is Do with a fallback: what it returns is returned when the call was refused, or
// has failed. err says which; a refusal matches [ErrOpen]. The fallback is given ctx,
// and nothing that it does counts.
func DoOr[T any](ctx context.Context, b *Breaker, f func(ctx context.Context) (T, error), fallback func(ctx context.Context, err error) (T, error)) (T, error) {
	start := b.core.now()
	value, err := Do(ctx, b, f)
	if err == nil {
		return value, nil
	}
	if rejected(err) || b.classify(ctx, err, start) == uprung.Failure {
		return fallback(ctx, err)
	}
	return value, err
}

// classify says what the error of a function means, which was called at start.
func (b *Breaker) classify(ctx context.Context, err error, start int64) uprung.Outcome {
	switch {
	case err == nil:
		return uprung.Success
	case rejected(err):
		return uprung.Ignored
	case b.core.o.Classify != nil:
		return b.core.o.Classify(err)
	}
	return b.errorOutcome(ctx, err, b.core.now()-start)
}

func (b *Breaker) errorOutcome(ctx context.Context, err error, took int64) uprung.Outcome {
	return uprung.ErrorOutcome(ctx, err, time.Duration(took), b.core.o.Patience)
}

// rejected reports whether an error is a refusal.
func rejected(err error) bool {
	_, ok := errors.AsType[*uprung.Rejection](err)
	return ok
}
