package chaos

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"syscall"
	"time"

	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
)

// ErrInjected matches every error that this package makes.
var ErrInjected = errors.New("chaos: injected")

// Error is an error that was injected. It matches [ErrInjected] and Err.
type Error struct {
	// Fault is the name of the [Fault].
	Fault string
	// Err is the error that it plays.
	Err error
}

// Error returns that of Err and the name of the fault.
func (e *Error) Error() string { return fmt.Sprintf("chaos: %v (fault %q)", e.Err, e.Fault) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is [ErrInjected].
func (e *Error) Is(target error) bool { return target == ErrInjected }

// Timeout reports whether Err is a timeout, as of a [net.Error].
func (e *Error) Timeout() bool {
	timeout, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](e.Err)
	return ok && timeout.Timeout()
}

// Temporary is what Timeout is. A [net.Error] has both.
func (e *Error) Temporary() bool { return e.Timeout() }

// Call is what a fault may be injected into: one request, call or statement.
type Call struct {
	// Context is that of the call.
	Context context.Context //nolint:containedctx // a parameter, in a struct that can grow
	// Request is the request of HTTP, and nil otherwise.
	Request *http.Request
	// Method is the full method of gRPC, such as /package.Service/Method; of a database
	// it is connect, ping, begin, query, exec, prepare, commit or rollback; of HTTP it is
	// that of the request.
	Method string
	// Query is the statement of a database, and empty otherwise.
	Query string
}

// HTTPKey makes a key of a call of one of a request. Other calls have none.
func HTTPKey(of key.Func) func(Call) (string, bool) {
	return func(c Call) (string, bool) {
		if c.Request == nil {
			return "", false
		}
		return of(c.Request)
	}
}

// Fault is what is done to some calls. Delay comes first; of Status, Err and Reset there
// can be one, and Body is for those that are answered. What a face cannot play it leaves
// out: a database has no Status, Code is for gRPC alone.
type Fault struct {
	// Name is for figures, marks and requests: 1 to 64 printable ASCII characters, and no
	// other fault of an injector has it.
	Name string

	// Match says which calls can meet the fault. Nil means all.
	Match func(Call) bool

	// Share is the part of those that do, above 0 to 1. Zero means 1, which is all.
	Share float64

	// Key makes it a part of the keys: all calls of a key meet the fault, or none does.
	// Those without a key do not. Nil means that each call is drawn by itself.
	Key func(Call) (string, bool)

	// Requested restricts the fault to requests that ask for it by [RequestField], and
	// that Options.Trust believes.
	Requested bool

	// Delay is how long a call is held before it goes on. Nil means not at all.
	Delay Delay

	// Status answers a request of HTTP with a status, 400 to 599. Zero means none.
	Status int

	// RetryAfter goes with Status, and with Code as the pushback of gRPC. Zero means that
	// nothing is said.
	RetryAfter time.Duration

	// Code answers a call of gRPC with a code, 1 to 16. Zero means the one that is
	// nearest to Status, UNAVAILABLE for Reset, and UNKNOWN for Err.
	Code uint32

	// Err is returned by transports and drivers. Handlers abort the response instead.
	Err error

	// Reset breaks the connection before there is a response: handlers reset that of the
	// client, transports return [syscall.ECONNRESET], drivers [driver.ErrBadConn].
	Reset bool

	// Body damages the body of the response of HTTP.
	Body Body
}

// Body says how the body of a response is damaged. The zero value does nothing.
type Body struct {
	// Rate bounds the body to so many bytes a second. Zero means no bound.
	Rate int64
	// Truncate ends the body after so many bytes, as a connection that breaks. Zero
	// means that it is complete; a negative value ends it before the first byte.
	Truncate int64
	// Corrupt changes one of so many bytes: at 1000, one in every thousand. Zero changes
	// none.
	Corrupt int64
}

// validate returns an error for each field that is not valid.
func (f *Fault) validate(i int) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("chaos: faults[%d]."+format, append([]any{i}, args...)...))
	}
	if err := option.CheckName("Name", f.Name); err != nil {
		bad("%w", err)
	}
	if !(f.Share >= 0 && f.Share <= 1) {
		bad("Share is %v, want 0 for all, or more and at most 1", f.Share)
	}
	if f.Status != 0 && (f.Status < 400 || f.Status > 599) {
		bad("Status is %d, want 0 for none, or 400 to 599", f.Status)
	}
	if f.Code > 16 {
		bad("Code is %d, want 0 to 16", f.Code)
	}
	if f.RetryAfter < 0 {
		bad("RetryAfter is %v, want >= 0", f.RetryAfter)
	}
	if f.Body.Rate < 0 {
		bad("Body.Rate is %d, want >= 0", f.Body.Rate)
	}
	if f.Body.Corrupt < 0 {
		bad("Body.Corrupt is %d, want >= 0", f.Body.Corrupt)
	}
	aborts := 0
	for _, set := range []bool{f.Status != 0, f.Err != nil, f.Reset} {
		if set {
			aborts++
		}
	}
	if aborts > 1 {
		bad("Status, Err and Reset are set together, want one of them at most")
	}
	if aborts > 0 && f.Body != (Body{}) {
		bad("Body is set, want it without Status, Err and Reset, which leave no body")
	}
	if aborts == 0 && f.Delay == nil && f.Code == 0 && f.Body == (Body{}) {
		bad("Delay, Status, Code, Err, Reset and Body are zero, want what is to be done")
	}
	return errs
}

// err returns the error of a fault, or nil if it has none.
func (f *Fault) err(reset error) error {
	switch {
	case f.Reset:
		return &Error{Fault: f.Name, Err: reset}
	case f.Err != nil:
		return &Error{Fault: f.Name, Err: f.Err}
	}
	return nil
}

// errReset is what the reset of a connection looks like.
var errReset error = syscall.ECONNRESET

// Delay is a distribution of delays: it returns the delay that a share u of them, from 0
// to below 1, does not exceed, which is its quantile. It is pure, so that a seed tells
// all delays.
type Delay func(u float64) time.Duration

// Fixed is always the same delay.
func Fixed(d time.Duration) Delay { return func(float64) time.Duration { return d } }

// Uniform is any delay from the least to below the most alike.
func Uniform(least, most time.Duration) Delay {
	return func(u float64) time.Duration { return least + time.Duration(u*float64(most-least)) }
}

// Exponential has many short delays and few long ones: the distribution of waiting for
// what comes at random, with a mean and an upper bound.
func Exponential(mean, most time.Duration) Delay {
	return func(u float64) time.Duration { return bounded(-math.Log1p(-u)*float64(mean), most) }
}

// Pareto is a heavy tail, as of stragglers: never below the least, above ten times that
// in one of ten to the power of alpha cases, and bounded.
func Pareto(least, most time.Duration, alpha float64) Delay {
	return func(u float64) time.Duration { return bounded(float64(least)/math.Pow(1-u, 1/alpha), most) }
}

// bounded converts a delay, which may be infinite or none.
func bounded(d float64, most time.Duration) time.Duration {
	if !(d < float64(most)) {
		return most
	}
	return time.Duration(d)
}
