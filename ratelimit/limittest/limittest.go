package limittest

import (
	"context"
	"fmt"
	"testing"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
)

// Limiter is what is tested. The methods are those of [ratelimit.Limiter]; the errors
// that they return too.
type Limiter interface {
	Take(ctx context.Context, key string, n int64) (ratelimit.Result, error)
	TakeUpTo(ctx context.Context, key string, n int64) (ratelimit.Result, error)
	Peek(ctx context.Context, key string) (ratelimit.Result, error)
	Refund(ctx context.Context, key string, n int64) error
	Reset(ctx context.Context, key string) error
	SetLimit(limit ratelimit.Limit) error
}

// Settings are those of a limiter to be tested, as in [ratelimit.Options].
type Settings struct {
	Limit    ratelimit.Limit
	LimitFor func(key string) (ratelimit.Limit, bool)
	Mode     uprung.Mode
}

// Factory makes a limiter that knows of no key yet.
type Factory func(Settings) (Limiter, error)

// Local is a limiter in the process as one to be tested.
func Local(l *ratelimit.Limiter) Limiter { return local{l} }

type local struct{ *ratelimit.Limiter }

func (l local) Peek(_ context.Context, key string) (ratelimit.Result, error) {
	return l.Limiter.Peek(key)
}

func (l local) Refund(_ context.Context, key string, n int64) error { return l.Limiter.Refund(key, n) }

func (l local) Reset(_ context.Context, key string) error {
	l.Limiter.Reset(key)
	return nil
}

// Run puts every check to a limiter, as a test of its own.
func Run(t *testing.T, f Factory) {
	t.Helper()
	for _, one := range checks {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			for _, failure := range run(t.Context(), f, one) {
				t.Error(failure.Text)
			}
		})
	}
}

// Failure is a promise that was not kept.
type Failure struct {
	// Check is the name of the check.
	Check string
	// Text says what was wrong.
	Text string
}

// String returns the name of the check and the text.
func (f Failure) String() string { return f.Check + ": " + f.Text }

// Check puts every check to a limiter, one after the other, and returns what is wrong:
// nothing, if all promises are kept.
func Check(ctx context.Context, f Factory) (failures []Failure) {
	for _, one := range checks {
		failures = append(failures, run(ctx, f, one)...)
	}
	return failures
}

// check is one promise.
type check struct {
	name string
	test func(*probe)
}

// probe is a check that is being made.
type probe struct {
	ctx      context.Context //nolint:containedctx // a probe is one call of Check or Run
	factory  Factory
	name     string
	failures []Failure
}

// run makes one check.
func run(ctx context.Context, f Factory, one check) []Failure {
	p := &probe{ctx: ctx, factory: f, name: one.name}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(errStop) {
				panic(r)
			}
		}()
		one.test(p)
	}()
	return p.failures
}

// errStop ends a check early.
var errStop = fmt.Errorf("limittest: the check is over")

func (p *probe) errorf(format string, args ...any) {
	p.failures = append(p.failures, Failure{p.name, fmt.Sprintf(format, args...)})
}

// limiter returns a new limiter, or ends the check.
func (p *probe) limiter(s Settings) Limiter {
	l, err := p.factory(s)
	if err != nil {
		p.errorf("no limiter for %v: %v", s.Limit, err)
		panic(errStop)
	}
	return l
}

// take is Take, whose error is one of the check.
func (p *probe) take(l Limiter, key string, n int64) ratelimit.Result {
	res, err := l.Take(p.ctx, key, n)
	if err != nil {
		p.errorf("Take(%q, %d) fails: %v", key, n, err)
	}
	return res
}

// wantTake takes, and compares.
func (p *probe) wantTake(l Limiter, key string, n int64, allowed bool, remaining int64) {
	res := p.take(l, key, n)
	granted := int64(0)
	if allowed {
		granted = n
	}
	if res.Allowed != allowed || res.Granted != granted || res.Remaining != remaining {
		p.errorf("Take(%q, %d) gives Allowed %v, Granted %d, Remaining %d; want %v, %d, %d",
			key, n, res.Allowed, res.Granted, res.Remaining, allowed, granted, remaining)
	}
}
