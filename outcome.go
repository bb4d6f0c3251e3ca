package uprung

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Outcome classifies the result of one request or call. It is the only
// classification in this library: whatever counts, retries, balances or opens
// a circuit works on outcomes and never on raw status codes, so that all guards
// of a program agree on what a failure is.
//
// A result is classified when the body has ended; its latency is known earlier,
// when the headers have arrived.
type Outcome uint8

const (
	// Success is an answer that says nothing bad about who gave it. A 404 or a
	// 401 is a success: the server did its work.
	Success Outcome = iota
	// Failure is an answer that shows its giver to be broken: a transport error,
	// a 5xx, a truncated body.
	Failure
	// Overload is an answer by which a working server says that it has too much
	// to do: 429, or 503 with Retry-After. It asks for less load, not for another
	// server.
	Overload
	// Ignored is a result that says nothing at all, such as a request that its
	// own caller cancelled.
	Ignored
)

// String returns the lower-case name that metrics and logs use.
func (o Outcome) String() string {
	switch o {
	case Success:
		return "success"
	case Failure:
		return "failure"
	case Overload:
		return "overload"
	case Ignored:
		return "ignored"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}

// ResponseOutcome classifies a complete HTTP response by its status code and
// header. 429, and 503 with a Retry-After field, are [Overload]; every other 5xx
// is [Failure]; all the rest is [Success].
func ResponseOutcome(status int, header http.Header) Outcome {
	switch {
	case status == http.StatusTooManyRequests,
		status == http.StatusServiceUnavailable && header.Get("Retry-After") != "":
		return Overload
	case status >= 500:
		return Failure
	}
	return Success
}

// DefaultPatience is how long an answer has to be waited for until running out of
// time is a failure of who should have given it, and no longer haste.
const DefaultPatience = time.Second

// ErrAttemptTimeout is the cause ([context.Cause]) of a context that was cancelled
// because one attempt of a request took too long: for those below a failure of who
// was asked, though the request as a whole goes on. It matches
// [context.DeadlineExceeded].
var ErrAttemptTimeout error = attemptTimeout{}

type attemptTimeout struct{}

func (attemptTimeout) Error() string        { return "uprung: attempt timed out" }
func (attemptTimeout) Timeout() bool        { return true }
func (attemptTimeout) Temporary() bool      { return true }
func (attemptTimeout) Is(target error) bool { return target == context.DeadlineExceeded }

// ErrorOutcome classifies the error of a request that was sent under ctx, or of
// reading its response, and that ended after it took this long. Nil is a [Success].
// [Ignored] are the caller's own cancellation, and a [Rejection]: one guard's
// refusal is no outcome to another. If the deadline of ctx has passed, it is a
// [Failure] if the request has had patience at least, so that an endpoint which hangs
// is noticed also where only the timeout of an [http.Client] ends the wait, and else
// Ignored. Zero patience means [DefaultPatience]. [ErrAttemptTimeout] and any other
// error is a Failure.
func ErrorOutcome(ctx context.Context, err error, took, patience time.Duration) Outcome {
	if patience == 0 {
		patience = DefaultPatience
	}
	if err == nil {
		return Success
	}
	if _, rejected := errors.AsType[*Rejection](err); rejected {
		return Ignored
	}
	if errors.Is(context.Cause(ctx), ErrAttemptTimeout) {
		return Failure
	}
	if errors.Is(err, context.Canceled) {
		return Ignored
	}
	switch ended := ctx.Err(); {
	case errors.Is(ended, context.Canceled):
		return Ignored
	case ended != nil && took < patience:
		return Ignored
	}
	return Failure
}
