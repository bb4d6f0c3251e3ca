package retry

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
)

// Options are the settings of a [Retrier]. The zero value of each field is its
// default.
type Options struct {
	// Name tells this retrier from others in figures: at most 64 printable ASCII
	// characters. Empty means "default".
	Name string

	// Mode says whether attempts are repeated, or only counted as if (Shadow), or
	// neither (Off). Percent goes by the host of a request.
	Mode uprung.Mode

	// Attempts is how often a request is sent at most, the first time included. Zero
	// means 3; 1 only moves on from endpoints that cannot be reached.
	Attempts int

	// Backoff is the longest pause before the second attempt, which doubles with each
	// further one, up to MaxBackoff; what is waited is a random part of it. Zero means
	// 100ms and 2s.
	Backoff, MaxBackoff time.Duration

	// MaxWait is the longest Retry-After that is waited for: with a longer one, the
	// response is returned. Zero means 10s.
	MaxWait time.Duration

	// Budget bounds retries by the requests that there are.
	Budget Budget

	// AttemptTimeout is how long an attempt may take up to the headers of its response;
	// then it counts as failed. Zero means that only the request's own deadline bounds
	// it.
	AttemptTimeout time.Duration

	// HedgeAt is the quantile of response times, over the last 10 seconds or so, after
	// which a second request is sent while the first is out; whichever answers first,
	// and well, counts. While more than a hundredth of the answers say that there is too
	// much to do, there are none. It is for what can be repeated through a Transport; Do
	// and package grpcretry send no hedges. Zero means that there are none; 0.95 is usual. It is below
	// 1.
	HedgeAt float64

	// Idempotent reports whether a request can be repeated though it may have been
	// served. Nil means those of safe methods (GET, HEAD, OPTIONS, TRACE) and those with
	// the header Idempotency-Key.
	Idempotent func(*http.Request) bool

	// Retryable reports whether an error of a function that [Do] calls is worth a
	// further attempt. Nil means all but those of a context that has ended and local
	// refusals, which never are.
	Retryable func(error) bool

	// Skip exempts requests: those for which it returns true are sent once. Nil exempts
	// none.
	Skip func(*http.Request) bool

	// Seed makes pauses repeatable. Zero means that they are not.
	Seed uint64
}

// idempotent is the default of Options.Idempotent. It follows net/http: the key
// counts also if it is empty.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	_, key := r.Header["Idempotency-Key"]
	return key
}

// complete returns the options with all defaults in place, and what describes them.
func (o Options) complete() (Options, []uprung.Setting, error) {
	given := o
	o.Name = cmp.Or(o.Name, "default")
	o.Attempts = cmp.Or(o.Attempts, 3)
	o.Backoff = cmp.Or(o.Backoff, 100*time.Millisecond)
	o.MaxBackoff = cmp.Or(o.MaxBackoff, 2*time.Second)
	o.MaxWait = cmp.Or(o.MaxWait, 10*time.Second)
	if o.Idempotent == nil {
		o.Idempotent = idempotent
	}

	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("retry: "+format, args...)) }
	if err := option.CheckName("Name", o.Name); err != nil {
		bad("%w", err)
	}
	if err := o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	if o.Attempts < 1 || o.Attempts > maxAttempts {
		bad("Attempts is %d, want 1 to %d", o.Attempts, maxAttempts)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Backoff", o.Backoff}, {"MaxBackoff", o.MaxBackoff}, {"MaxWait", o.MaxWait}, {"AttemptTimeout", o.AttemptTimeout}} {
		if d.value < 0 {
			bad("%s is %v, want >= 0", d.name, d.value)
		}
	}
	if !(o.HedgeAt >= 0 && o.HedgeAt < 1) {
		bad("HedgeAt is %v, want 0 for none, or more and less than 1", o.HedgeAt)
	}
	var wrong []error
	o.Budget, wrong = o.Budget.complete()
	errs = append(errs, wrong...)
	settings := []uprung.Setting{
		{Name: "Mode", Value: o.Mode.String(), Default: o.Mode == uprung.Enforce},
		{Name: "Attempts", Value: strconv.Itoa(o.Attempts), Default: given.Attempts == 0},
		{Name: "Backoff", Value: o.Backoff.String(), Default: given.Backoff == 0},
		{Name: "MaxBackoff", Value: o.MaxBackoff.String(), Default: given.MaxBackoff == 0},
		{Name: "MaxWait", Value: o.MaxWait.String(), Default: given.MaxWait == 0},
		{Name: "Budget", Value: o.Budget.String(), Default: given.Budget == Budget{}},
		{Name: "AttemptTimeout", Value: option.OrNone(o.AttemptTimeout > 0, o.AttemptTimeout), Default: o.AttemptTimeout == 0},
		{Name: "HedgeAt", Value: option.OrNone(o.HedgeAt > 0, o.HedgeAt), Default: o.HedgeAt == 0},
		{Name: "Idempotent", Value: option.Function(given.Idempotent != nil, "safe methods and Idempotency-Key"), Default: given.Idempotent == nil},
		{Name: "Skip", Value: option.Function(o.Skip != nil, "none"), Default: o.Skip == nil},
	}
	return o, settings, errors.Join(errs...)
}

// maxAttempts bounds attempts. More are not the answer to anything.
const maxAttempts = 100
