package deadline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
)

var (
	// ErrExpired is the reason of a refusal: when the work came, less time was left for
	// it than it needs. It is the Reason of a [*uprung.Rejection], and matches
	// [context.DeadlineExceeded].
	ErrExpired error = timeout("deadline: not enough time is left")

	// ErrExceeded says that work was begun and not done in time. It is the cause
	// ([context.Cause]) of contexts that a [Deadline] has ended, and what Options.Refused
	// is told then. It matches [context.DeadlineExceeded].
	ErrExceeded error = timeout("deadline: exceeded")
)

// timeout is an error that net/http and others take for one of a deadline.
type timeout string

func (t timeout) Error() string      { return string(t) }
func (timeout) Timeout() bool        { return true }
func (timeout) Temporary() bool      { return true }
func (timeout) Is(target error) bool { return target == context.DeadlineExceeded }

// Options are the settings of a [Deadline] beyond its limit. The zero value of each
// field is its default.
type Options struct {
	// Name tells this deadline from others in figures and refusals: at most 64 printable
	// ASCII characters. Zero means "default".
	Name string

	// Header is the field by which the remaining time is passed on, and read if the
	// request is trusted: an integer of milliseconds. Zero means [DefaultHeader].
	Header string

	// Trust says whose Header counts for Middleware. What a trusted request says can
	// make its deadline earlier than the limit, and never later. The package comment
	// says why it should be its sender's own services that are trusted. Nil trusts
	// nobody.
	Trust func(*http.Request) bool

	// Margin is subtracted from what is passed on, so that the answer has time to come
	// back. Zero means a tenth of what is left, at most 10ms; a negative value means
	// none.
	Margin time.Duration

	// MinRemaining is the least time that work needs: what has less when it comes is
	// refused. Of what goes out, Margin is off already. Zero refuses only what has none
	// left.
	MinRemaining time.Duration

	// Mode says what is done with decisions. Under [uprung.Shadow] contexts have no
	// deadline and nothing is refused or cut off; what would have been is counted.
	// [Deadline.SetMode] changes it live. Zero means [uprung.Enforce].
	Mode uprung.Mode

	// Key says for whom a Mode of [uprung.Percent] enforces, and has no other use. Nil
	// means, for Middleware, key.Direct(nil), the address of the socket's peer, and, for
	// Transport, the host of the URL. Requests without a key are as one.
	Key key.Func

	// Refused answers a request that Middleware refuses, or whose handler did not answer
	// in time. The status is for it to write. err is a [*uprung.Rejection] for
	// [ErrExpired], or [ErrExceeded]. Nil means [Deadline.Refuse], which it can also call
	// for what it leaves as it is.
	Refused func(w http.ResponseWriter, r *http.Request, err error)

	// Skip exempts requests: those for which it returns true have no deadline, are not
	// counted, and get no header. Nil exempts none.
	Skip func(*http.Request) bool
}

// A Deadline bounds the time of requests. Its methods Middleware and Transport are its
// faces; use one Deadline for each direction, whose limits differ. It is safe for
// concurrent use. Use [New].
type Deadline struct {
	o                Options
	settings         []uprung.Setting
	outgoing         []uprung.Setting
	expired, overdue *httpx.Problem
	limit            atomic.Int64
	mode             atomic.Int32
	count            counters
}

// New returns a deadline with a limit, which is above zero. Nil options are the
// defaults. The error names every field that is out of range.
func New(limit time.Duration, o *Options) (*Deadline, error) {
	if o == nil {
		o = &Options{}
	}
	d := &Deadline{o: *o}
	d.o.Name = cmp.Or(o.Name, "default")
	d.o.Header = http.CanonicalHeaderKey(cmp.Or(o.Header, DefaultHeader))
	errs := d.check(limit)
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("deadline: "+format, args...)) }
	if err := option.CheckName("Name", d.o.Name); err != nil {
		bad("%w", err)
	}
	if !token(d.o.Header) {
		bad("Header is %q, want the name of a header field", o.Header)
	}
	if o.MinRemaining < 0 {
		bad("MinRemaining is %v, want >= 0", o.MinRemaining)
	}
	if err := o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	problem := func(detail string) *httpx.Problem {
		p, err := httpx.NewProblem(http.StatusGatewayTimeout, &httpx.ProblemOptions{Detail: detail})
		if err != nil {
			bad("%w", err)
		}
		return p
	}
	d.expired = problem("Too little time was left for this request when it came.")
	d.overdue = problem("The answer was not ready in time.")
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	d.limit.Store(int64(limit))
	d.mode.Store(int32(o.Mode))
	d.describe(o)
	return d, nil
}

// check returns what is wrong with a limit.
func (d *Deadline) check(limit time.Duration) (errs []error) {
	if limit <= 0 {
		return []error{fmt.Errorf("deadline: limit is %v, want > 0", limit)}
	}
	if need := max(d.o.MinRemaining, 0) + max(d.o.Margin, 0); limit <= need || need < 0 {
		errs = append(errs, fmt.Errorf("deadline: limit is %v, want more than MinRemaining and Margin together, %v", limit, need))
	}
	return errs
}

// Limit returns the limit.
func (d *Deadline) Limit() time.Duration { return time.Duration(d.limit.Load()) }

// SetLimit changes the limit while running, for work that begins from now on. It
// returns an error, and changes nothing, where New would return one.
func (d *Deadline) SetLimit(limit time.Duration) error {
	if err := errors.Join(d.check(limit)...); err != nil {
		return err
	}
	d.limit.Store(int64(limit))
	return nil
}

// Mode returns the mode.
func (d *Deadline) Mode() uprung.Mode { return uprung.Mode(d.mode.Load()) }

// SetMode changes the mode while running, for work that begins from now on.
func (d *Deadline) SetMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return fmt.Errorf("deadline: %w", err)
	}
	d.mode.Store(int32(mode))
	return nil
}

// Remaining returns the time that is left until the deadline of ctx, which is negative
// once it has passed, and false if ctx has none.
func Remaining(ctx context.Context) (time.Duration, bool) {
	at, ok := ctx.Deadline()
	if !ok {
		return 0, false
	}
	return time.Until(at), true
}

// until returns when work that begins now has to be done: as soon as the limit, most
// or the deadline of ctx says.
func (d *Deadline) until(ctx context.Context, now time.Time, most time.Duration) time.Time {
	at := now.Add(min(d.Limit(), most))
	if inherited, ok := ctx.Deadline(); ok && inherited.Before(at) {
		at = inherited
	}
	return at
}

// forever is more than any limit.
const forever time.Duration = 1<<63 - 1

// enough reports whether work can be begun with this much time left.
func (d *Deadline) enough(left time.Duration) bool { return left > 0 && left >= d.o.MinRemaining }

// maxMargin is the most that is taken off by default.
const maxMargin = 10 * time.Millisecond

// margin returns what is taken off the time that is left.
func (d *Deadline) margin(left time.Duration) time.Duration {
	switch {
	case d.o.Margin < 0:
		return 0
	case d.o.Margin > 0:
		return d.o.Margin
	}
	return min(max(left, 0)/10, maxMargin)
}

// reject returns the error of a refusal.
func (d *Deadline) reject() *uprung.Rejection {
	return &uprung.Rejection{Kind: uprung.KindDeadline, Name: d.o.Name, Reason: ErrExpired}
}

// Begin gives a piece of work its deadline: work that came over gRPC or out of a queue,
// with a context that says until when it is wanted. It returns a context with the
// deadline, and end, which is to be called when the work has ended. Work that has too
// little time left is refused with a [*uprung.Rejection], and is not to be begun; end
// can then be called, and need not. It can also be called twice. The key counts only
// under a Mode of [uprung.Percent].
func (d *Deadline) Begin(ctx context.Context, key string) (within context.Context, end func(), err error) {
	return d.begin(ctx, key, false)
}

// BeginCall is Begin for a call that goes out by a protocol which passes on the
// deadline of its context by itself, as gRPC does: Margin is taken off that.
func (d *Deadline) BeginCall(ctx context.Context, key string) (within context.Context, end func(), err error) {
	return d.begin(ctx, key, true)
}

func (d *Deadline) begin(ctx context.Context, key string, outgoing bool) (context.Context, func(), error) {
	mode := d.Mode()
	if mode == uprung.Off {
		return ctx, func() {}, nil
	}
	now := time.Now()
	at := d.until(ctx, now, forever)
	if outgoing {
		at = at.Add(-d.margin(at.Sub(now)))
	}
	enforced := mode.Enforces(key)
	if !d.enough(at.Sub(now)) {
		if enforced {
			d.count.refused.Add(1)
			return ctx, func() {}, d.reject()
		}
		d.count.shadowRefused.Add(1)
		return ctx, func() {}, nil
	}
	within, cancel := ctx, func() {}
	if enforced {
		var release context.CancelFunc
		within, release = context.WithDeadlineCause(ctx, at, ErrExceeded)
		cancel = release
	}
	return within, sync.OnceFunc(func() {
		switch {
		case time.Now().Before(at):
			d.count.done.Add(1)
		case enforced:
			d.count.exceeded.Add(1)
		default:
			d.count.shadowExceeded.Add(1)
		}
		cancel()
	}), nil
}
