package uprung

import (
	"strconv"
	"time"
)

// Never is the RetryAfter of a [Rejection] that repeating the request cannot
// cure.
const Never time.Duration = -1

// Rejection is the error of every refusal that is made locally, before the work
// was tried: a limit that is used up, a circuit that is open, a queue that is
// full. [errors.As] tells such a refusal from a result of the work itself: one
// guard's rejection is never an outcome to another guard.
//
// The sentinels of the packages match it: errors.Is(err, ratelimit.ErrLimited).
//
// A Rejection is immutable once returned and may be shared.
type Rejection struct {
	// Kind is the kind of the layer that refused, such as [KindRateLimit].
	Kind Kind
	// Name is the name that the programmer gave to that layer or policy.
	Name string
	// Reason is the sentinel of the package that refused. Unwrap returns it.
	Reason error
	// RetryAfter is the time after which the same request may succeed. Zero means
	// unknown, [Never] (or any negative value) that repeating is useless.
	RetryAfter time.Duration
}

// Error returns the reason, the name of the policy and the time to wait.
func (r *Rejection) Error() string {
	text := "uprung: rejected"
	if r.Reason != nil {
		text = r.Reason.Error()
	}
	if r.Name != "" {
		text += " (policy " + strconv.Quote(r.Name) + ")"
	}
	if r.RetryAfter > 0 {
		text += ", retry after " + r.RetryAfter.String()
	}
	return text
}

// Unwrap returns Reason.
func (r *Rejection) Unwrap() error { return r.Reason }
