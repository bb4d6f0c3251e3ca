package breaker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
)

// Options are the settings of a [Breaker]. The zero value of each field is its default.
type Options struct {
	// Name tells this breaker from others in figures, logs and refusals: at most 64
	// printable ASCII characters. Empty means "default".
	Name string

	// Mode says whether calls are refused while it is open, or only counted as if
	// (Shadow), or not looked at (Off). Percent goes by the key of a group, or else by
	// Key.
	Mode uprung.Mode

	// Window is over how much of the past results count, at the least 1s. It should be
	// longer than a call can take. Zero means 10s.
	Window time.Duration

	// MinRequests is how many results it takes in a window to judge by it, at most
	// 100000. Zero means 20.
	MinRequests int

	// FailureRatio is the share of failures in the window at which the breaker opens, at
	// most 1. Zero means 0.5.
	FailureRatio float64

	// Consecutive is the number of failures in a row at which it opens as well, however
	// few there are. Zero means that they are not counted.
	Consecutive int

	// SlowCall is how long an answer may take until a success is a slow call. Zero means
	// that none is.
	SlowCall time.Duration

	// SlowRatio is the share of slow calls in the window at which the breaker opens, at
	// most 1. Zero means that a slow call is a failure.
	SlowRatio float64

	// OpenFor is how long it is open at first, at the least 1ms, and OpenMax how long at
	// most. The time doubles whenever the outage has lasted sixteen times as long, so
	// that an outage is noticed to be over after an eighth of its own duration at most.
	// Zero means 1s and 30s.
	OpenFor, OpenMax time.Duration

	// Jitter is by which part of itself the open time is shortened at most, at random,
	// so that the clients of a service do not all come back at once. It is less than 1.
	// Zero means 0.2, negative none.
	Jitter float64

	// Probes is how many calls are let through when the open time is over, and how many
	// have to succeed. At most 1000. Zero means 3.
	Probes int

	// ProbeLease is how long a probe may take up to its answer until it counts as failed,
	// so that one that hangs, or of which nobody says how it has ended, keeps nobody
	// waiting. Zero means 10s.
	ProbeLease time.Duration

	// Patience is how long an answer must have been waited for until a deadline that
	// passes is a failure: the timeout of an attempt, if calls have one. Zero means
	// [uprung.DefaultPatience].
	Patience time.Duration

	// Classify says what an error means that a function returns which [Do] calls. It is
	// not asked about nil and about refusals. Nil means [uprung.ErrorOutcome], with the
	// context of the call, how long it took, and Patience.
	Classify func(error) uprung.Outcome

	// Key says for whom a Mode of [uprung.Percent] enforces, and has no other use. Nil
	// means, for Middleware, key.Direct(nil), the address of the socket's peer, and, for
	// Transport, the host of the URL.
	Key key.Func

	// Refused answers a request that Middleware refuses: the place of a fallback, such as
	// an older page. The status is for it to write. Nil means [Breaker.Refuse], which it
	// can also call.
	Refused func(w http.ResponseWriter, r *http.Request, err error)

	// Fallback answers a request of Transport that is refused, or that got no answer
	// because of a failure of the other side. The request's body has been closed then. It
	// can return err, for what it has no answer to. Nil means that there is none.
	Fallback func(r *http.Request, err error) (*http.Response, error)

	// Skip exempts requests: those for which it returns true are neither refused nor
	// counted. Nil exempts none.
	Skip func(*http.Request) bool

	// OnChange is told of every change of state, one after the other in their order. It
	// may call the breaker, and should return soon, as it runs on the goroutine of a
	// call. Nil is told nothing. In a group, GroupOptions.OnChange is told the key as
	// well.
	OnChange func(Event)

	// Logger is told, at Info, of changes of state. Nil is silent.
	Logger *slog.Logger

	// Seed makes the jitter repeatable. Zero means that it is not.
	Seed uint64
}

const (
	maxMinRequests = 100_000
	maxProbes      = 1000
	longest        = 24 * time.Hour
)

// complete returns the options with all defaults in place, and what describes them.
func (o Options) complete() (Options, []uprung.Setting, error) {
	given := o
	o.Name = cmp.Or(o.Name, "default")
	o.Window = cmp.Or(o.Window, 10*time.Second)
	o.MinRequests = cmp.Or(o.MinRequests, 20)
	o.FailureRatio = cmp.Or(o.FailureRatio, 0.5)
	o.OpenFor = cmp.Or(o.OpenFor, time.Second)
	o.OpenMax = cmp.Or(o.OpenMax, max(30*time.Second, o.OpenFor))
	o.Jitter = max(0, cmp.Or(o.Jitter, 0.2))
	o.Probes = cmp.Or(o.Probes, 3)
	o.ProbeLease = cmp.Or(o.ProbeLease, 10*time.Second)
	o.Patience = cmp.Or(o.Patience, uprung.DefaultPatience)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}

	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("breaker: "+format, args...)) }
	if err := option.CheckName("Name", o.Name); err != nil {
		bad("%w", err)
	}
	if err := o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	for _, d := range []struct {
		name         string
		value, least time.Duration
	}{
		{"Window", o.Window, time.Second}, {"SlowCall", o.SlowCall, 0},
		{"OpenFor", o.OpenFor, time.Millisecond}, {"OpenMax", o.OpenMax, o.OpenFor},
		{"ProbeLease", o.ProbeLease, 1}, {"Patience", o.Patience, 0},
	} {
		if d.value < d.least || d.value > longest {
			bad("%s is %v, want %v to %v", d.name, d.value, d.least, longest)
		}
	}
	if o.MinRequests < 1 || o.MinRequests > maxMinRequests {
		bad("MinRequests is %d, want 1 to %d", o.MinRequests, maxMinRequests)
	}
	if !(o.FailureRatio > 0 && o.FailureRatio <= 1) {
		bad("FailureRatio is %v, want more than 0 and at most 1", o.FailureRatio)
	}
	if o.Consecutive < 0 || o.Consecutive > maxMinRequests {
		bad("Consecutive is %d, want 0 to %d", o.Consecutive, maxMinRequests)
	}
	if !(o.SlowRatio >= 0 && o.SlowRatio <= 1) {
		bad("SlowRatio is %v, want 0 to 1", o.SlowRatio)
	}
	if o.SlowRatio > 0 && o.SlowCall == 0 {
		bad("SlowRatio is %v, want 0 where SlowCall is", o.SlowRatio)
	}
	if !(o.Jitter < 1) { // NaN too
		bad("Jitter is %v, want less than 1", given.Jitter)
	}
	if o.Probes < 1 || o.Probes > maxProbes {
		bad("Probes is %d, want 1 to %d", o.Probes, maxProbes)
	}
	settings := []uprung.Setting{
		{Name: "Mode", Value: o.Mode.String(), Default: o.Mode == uprung.Enforce},
		{Name: "Window", Value: o.Window.String(), Default: given.Window == 0},
		{Name: "MinRequests", Value: strconv.Itoa(o.MinRequests), Default: given.MinRequests == 0},
		{Name: "FailureRatio", Value: fmt.Sprint(o.FailureRatio), Default: given.FailureRatio == 0},
		{Name: "Consecutive", Value: option.OrNone(o.Consecutive > 0, o.Consecutive), Default: o.Consecutive == 0},
		{Name: "SlowCall", Value: option.OrNone(o.SlowCall > 0, o.SlowCall), Default: o.SlowCall == 0},
		{Name: "SlowRatio", Value: option.OrNone(o.SlowRatio > 0, o.SlowRatio), Default: o.SlowRatio == 0},
		{Name: "OpenFor", Value: o.OpenFor.String(), Default: given.OpenFor == 0},
		{Name: "OpenMax", Value: o.OpenMax.String(), Default: given.OpenMax == 0},
		{Name: "Jitter", Value: option.OrNone(o.Jitter > 0, o.Jitter), Default: given.Jitter == 0},
		{Name: "Probes", Value: strconv.Itoa(o.Probes), Default: given.Probes == 0},
		{Name: "ProbeLease", Value: o.ProbeLease.String(), Default: given.ProbeLease == 0},
		{Name: "Patience", Value: o.Patience.String(), Default: given.Patience == 0},
		{Name: "Refused", Value: option.Function(o.Refused != nil, "problem document"), Default: o.Refused == nil},
		{Name: "Fallback", Value: option.Function(o.Fallback != nil, "none"), Default: o.Fallback == nil},
		{Name: "Skip", Value: option.Function(o.Skip != nil, "none"), Default: o.Skip == nil},
	}
	return o, settings, errors.Join(errs...)
}
