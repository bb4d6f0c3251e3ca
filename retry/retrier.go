package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// Retrier repeats what has failed, within one budget. Use [New].
//
// It is safe for concurrent use.
type Retrier struct {
	o        Options
	settings []uprung.Setting
	mode     atomic.Int32
	origin   time.Time // of all instants
	draws    atomic.Uint64
	budget   *bucket
	hedges   *bucket // bounds hedges, on top of the budget
	times    *latency
	count    counters
}

// hedgeShare is the most that hedges are of all requests.
const hedgeShare = 0.05

// New returns a retrier. Nil options are the defaults. The error names every field
// that is not valid.
func New(o *Options) (*Retrier, error) {
	if o == nil {
		o = &Options{}
	}
	complete, settings, err := o.complete()
	if err != nil {
		return nil, err
	}
	r := &Retrier{
		o: complete, settings: settings, origin: time.Now(),
		budget: newBucket(complete.Budget),
		hedges: newBucket(Budget{PerRequest: hedgeShare, Cap: 10}),
		times:  &latency{},
	}
	r.mode.Store(int32(complete.Mode))
	return r, nil
}

// Mode returns the mode in force.
func (r *Retrier) Mode() uprung.Mode { return uprung.Mode(r.mode.Load()) }

// SetMode changes the mode while requests go on. An invalid mode is an error and
// changes nothing.
func (r *Retrier) SetMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return err
	}
	r.mode.Store(int32(mode))
	return nil
}

// now returns the instant in the time of the retrier.
func (r *Retrier) now() time.Duration { return time.Since(r.origin) }

// random returns a random number in [0, 1).
func (r *Retrier) random() float64 {
	if r.o.Seed == 0 {
		return rand.Float64()
	}
	return rand.New(rand.NewPCG(r.o.Seed, r.draws.Add(1))).Float64()
}

// sleep waits, and returns the error of ctx if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Do calls f until it returns no error, as often as the settings of r allow and the
// budget does, and returns what it returned last. f must be harmless to repeat. It is
// given ctx, or one that ends after Options.AttemptTimeout. A panic of f goes on.
//
// Mode [uprung.Percent] has no key here, and goes by the empty one.
func Do[T any](ctx context.Context, r *Retrier, f func(ctx context.Context) (T, error)) (T, error) {
	if r.Mode() == uprung.Off || OriginOf(ctx).Attempt() > 0 {
		return f(ctx)
	}
	for loop := r.Begin(""); ; {
		value, err := once(ctx, r, f)
		if err == nil || !r.retryable(ctx, err) || !loop.Again(ctx, 0) {
			return value, err
		}
	}
}

// once calls f with the timeout of an attempt.
func once[T any](ctx context.Context, r *Retrier, f func(context.Context) (T, error)) (T, error) {
	within, cancel := r.AttemptContext(ctx)
	defer cancel()
	return f(within)
}

// retryable reports whether an error of a function is worth a further attempt.
func (r *Retrier) retryable(ctx context.Context, err error) bool {
	if _, rejected := errors.AsType[*uprung.Rejection](err); rejected || ctx.Err() != nil {
		return false
	}
	return r.o.Retryable == nil || r.o.Retryable(err)
}
