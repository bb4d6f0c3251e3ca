package grpclimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/ratelimit"
)

// Limiter is what says how often calls may be made: a [ratelimit.Limiter] or
// [ratelimit.Group], or one of package redislimit, which counts for many processes. Its
// methods are called concurrently.
type Limiter interface {
	// Take takes n events for key, all or none, under the limiter's own mode.
	// [ratelimit.ErrExceedsBurst] says that time does not help, and a
	// [*uprung.Rejection] for [ratelimit.ErrUnavailable] that nobody can be asked.
	Take(ctx context.Context, key string, n int64) (ratelimit.Result, error)
	// Mode decides on calls that have no key.
	Mode() uprung.Mode
	// Layer has the name of the policy.
	Layer() uprung.Layer
}

// RateOptions are the settings of an interceptor that limits how often calls are made.
// The zero value of each field is its default, and nil options are all defaults. Those of
// the limiter that are about HTTP have no meaning here.
type RateOptions struct {
	// Key says whose limit a call counts against. Nil means [ByPeer] in a server, and the
	// target of the connection in a client.
	Key KeyFunc

	// MissingKey says what is done with a call that has no key. Zero means
	// [key.MissingRefused]: it ends with INVALID_ARGUMENT. Those that share a limit have
	// that of the empty key.
	MissingKey key.Missing

	// Cost is the number of events that a call counts for. A cost of zero lets it pass
	// uncounted; one above the burst can never be granted; with a negative one the call
	// ends with INTERNAL. Nil means 1.
	Cost func(ctx context.Context, fullMethod string) int64

	// Skip exempts calls: those for which it returns true pass uncounted. Nil exempts
	// none.
	Skip func(ctx context.Context, fullMethod string) bool
}

// rate is what the interceptors that limit rates have in common.
type rate struct {
	limiter Limiter
	name    string
	o       RateOptions
}

// newRate panics without a limiter, or if an option is out of range: the signature of an
// interceptor has no room for an error.
func newRate(limiter Limiter, o *RateOptions) *rate {
	if limiter == nil {
		panic("grpclimit: the limiter is nil")
	}
	r := &rate{limiter: limiter, name: limiter.Layer().Name}
	if o != nil {
		r.o = *o
	}
	if err := r.o.MissingKey.Validate(); err != nil {
		panic(fmt.Sprintf("grpclimit: MissingKey: %v", err))
	}
	return r
}

// ask is what a call asks of the limiter.
type ask struct {
	key string
	n   int64
}

// prepare finds out what a call asks for; target is its key if there is no other. It
// returns false if the call passes without a decision or, with an error, is refused
// without one.
func (r *rate) prepare(ctx context.Context, method, target string) (a ask, applies bool, err error) {
	mode := r.limiter.Mode()
	if mode == uprung.Off || r.o.Skip != nil && r.o.Skip(ctx, method) {
		return ask{}, false, nil
	}
	found := true
	if a.key = target; r.o.Key != nil {
		a.key, found = r.o.Key(ctx, method)
	}
	if !found || a.key == "" {
		a.key = "" // whatever came with false
		switch {
		case r.o.MissingKey == key.MissingShared:
		case r.o.MissingKey == key.MissingRefused && mode.Enforces(""):
			return ask{}, false, r.refuse(codes.InvalidArgument, ratelimit.ErrMissingKey, uprung.Never)
		default:
			return ask{}, false, nil
		}
	}
	a.n = 1
	if r.o.Cost != nil {
		if a.n = r.o.Cost(ctx, method); a.n < 0 && !mode.Enforces(a.key) {
			a.n = 0 // what does not enforce stops nobody
		}
	}
	return a, a.n != 0, nil
}

// take decides on a call. Its error is a status.
func (r *rate) take(ctx context.Context, method string) error {
	a, applies, err := r.prepare(ctx, method, "")
	if !applies {
		return err
	}
	result, err := r.limiter.Take(ctx, a.key, a.n)
	if err == nil && result.Allowed {
		return nil
	}
	return r.refusal(ctx, &result, err)
}

// refusal makes a status of what a limiter has answered to a call that may not go on.
func (r *rate) refusal(ctx context.Context, result *ratelimit.Result, err error) error {
	rejection, rejected := errors.AsType[*uprung.Rejection](err)
	switch {
	case err == nil:
		return r.refuse(codes.ResourceExhausted, ratelimit.ErrLimited, result.RetryAfter)
	case rejected && errors.Is(err, ratelimit.ErrUnavailable):
		return r.refuse(codes.Unavailable, &veiled{ratelimit.ErrUnavailable.Error(), rejection.Reason}, rejection.RetryAfter)
	case rejected:
		return grpcx.Refuse(codes.ResourceExhausted, rejection)
	case errors.Is(err, ratelimit.ErrExceedsBurst):
		return r.refuse(codes.ResourceExhausted, ratelimit.ErrExceedsBurst, uprung.Never)
	case ctx.Err() != nil:
		return r.refuse(status.FromContextError(ctx.Err()).Code(), ctx.Err(), uprung.Never)
	}
	return r.refuse(codes.Internal, &veiled{"ratelimit: the cost or the limit of the call is not valid", err}, 0)
}

// veiled is a reason whose cause, such as the address of a store, is not for clients. It
// can be had by errors.Is and errors.As where the call was refused.
type veiled struct {
	text  string
	cause error
}

func (v *veiled) Error() string { return v.text }
func (v *veiled) Unwrap() error { return v.cause }

// refuse makes a status of a reason.
func (r *rate) refuse(code codes.Code, reason error, after time.Duration) error {
	return grpcx.Refuse(code, &uprung.Rejection{Kind: uprung.KindRateLimit, Name: r.name, Reason: reason, RetryAfter: after})
}
