package grpcbalance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// Options are the settings of a [Balancer]. The zero value of each field is its
// default.
type Options struct {
	// Policy chooses one of the endpoints for each call. Nil means [pick.AgeEWMA]{},
	// the right one for nearly everybody.
	Policy pick.Policy

	// Key finds the key of a call, for policies that go by it, such as lb.ByKey. A call
	// without one goes anywhere. It must be quick and safe for concurrent use. Nil
	// means that none has one.
	Key func(ctx context.Context, fullMethod string) (string, bool)

	// Outlier takes endpoints out for a while that fail again and again.
	Outlier Outlier

	// PanicThreshold is the share of the endpoints that must be usable: connected, and
	// not ejected. Below it, all that are connected are picked from: that nearly all
	// are broken is less likely than that what says so is, and the few that are left
	// would be overrun. It is at most 1. Zero means 0.5, negative that endpoints which
	// are ejected are never picked.
	PanicThreshold float64

	// Eligible is asked before an endpoint is picked, by its first address, and refuses
	// it for this call by returning false: for a circuit breaker for each endpoint. It
	// must be quick and safe for concurrent use. Nil refuses none.
	Eligible func(id string) bool

	// Patience is how long an answer must have been waited for until a deadline that
	// passes is a failure of the endpoint: the timeout of an attempt, if calls have
	// one. Zero means [uprung.DefaultPatience].
	Patience time.Duration

	// RetryAfter is what callers are told to wait when Eligible refuses all. Zero means
	// 1s.
	RetryAfter time.Duration

	// Seed makes the choices repeatable. Zero means that they are not.
	Seed uint64

	// Logger is told, at Info and Warn, when endpoints come, go, fail and recover. Nil
	// is silent.
	Logger *slog.Logger
}

// Outlier are the settings by which endpoints are taken out ("ejected") for a while
// that fail several times in a row. They are those of lb.Outlier that do without a
// comparison of endpoints. The zero value of each field is its default.
//
// What a caller cancels never counts, and neither does an answer by which a server asks
// for less load.
type Outlier struct {
	// Mode says whether endpoints are ejected, or only counted as if (Shadow), or not
	// looked at (Off). Percent ejects those whose ID falls into it.
	Mode uprung.Mode
	// Consecutive is the number of failures in a row after which an endpoint is
	// ejected. Zero means 5.
	Consecutive int
	// Ejection is how long an endpoint is out the first time, twice as long the second
	// and so on, up to ten times; each 10s in which it is in take one time back. Zero
	// means 3s.
	Ejection time.Duration
	// MaxEjected is the share of the endpoints that can be out at a time, rounded
	// down, but at least one. Zero means 0.1. It is at most 1.
	MaxEjected float64
}

// complete returns the options with all defaults in place.
func (o Options) complete() (Options, error) {
	if o.Policy == nil {
		o.Policy = pick.AgeEWMA{}
	}
	o.PanicThreshold = cmp.Or(o.PanicThreshold, 0.5)
	o.Patience = cmp.Or(o.Patience, uprung.DefaultPatience)
	o.RetryAfter = cmp.Or(o.RetryAfter, time.Second)
	o.Outlier.Consecutive = cmp.Or(o.Outlier.Consecutive, 5)
	o.Outlier.Ejection = cmp.Or(o.Outlier.Ejection, 3*time.Second)
	o.Outlier.MaxEjected = cmp.Or(o.Outlier.MaxEjected, 0.1)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}

	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("grpcbalance: "+format, args...)) }
	if !(o.PanicThreshold <= 1) {
		bad("PanicThreshold is %v, want at most 1", o.PanicThreshold)
	}
	if o.Patience < 0 {
		bad("Patience is %v, want >= 0", o.Patience)
	}
	if o.RetryAfter < 0 {
		bad("RetryAfter is %v, want >= 0", o.RetryAfter)
	}
	if err := o.Outlier.Mode.Validate(); err != nil {
		bad("Outlier.Mode: %w", err)
	}
	if o.Outlier.Consecutive < 0 {
		bad("Outlier.Consecutive is %d, want >= 0", o.Outlier.Consecutive)
	}
	if o.Outlier.Ejection < 0 {
		bad("Outlier.Ejection is %v, want >= 0", o.Outlier.Ejection)
	}
	if !(o.Outlier.MaxEjected >= 0 && o.Outlier.MaxEjected <= 1) {
		bad("Outlier.MaxEjected is %v, want 0 to 1", o.Outlier.MaxEjected)
	}
	if _, err := o.Policy.Picker([]pick.Endpoint{{ID: "example"}}, nil); err != nil {
		bad("Policy: %w", err)
	}
	return o, errors.Join(errs...)
}
