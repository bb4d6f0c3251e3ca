package breaker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
)

// ErrThrottled is the reason of a refusal by a [Throttle].
var ErrThrottled = errors.New("breaker: throttled")

// ThrottleOptions are the settings of a [Throttle]. The zero value of each field is its
// default.
type ThrottleOptions struct {
	// Name tells this throttle from others in figures and refusals: at most 64 printable
	// ASCII characters. Empty means "default".
	Name string

	// Mode says whether requests are refused, or only counted as if (Shadow), or not
	// looked at (Off). Percent goes by Key.
	Mode uprung.Mode

	// K is how many requests are sent for each that the service accepts, at most: more
	// than that are refused here. With 1.5, an overloaded service refuses half as many as
	// it serves; with less, fewer, and there is more guessing on this side. It is more than
	// 1. Zero means 1.5.
	K float64

	// Window is over how much of the past requests count, at the least 100ms. Zero means
	// 1s; with a longer one, service is refused for longer after an overload is over.
	Window time.Duration

	// MaxRejected is the share of requests that is refused at most, less than 1, so that
	// some always find out whether the service is well again. Zero means 0.9.
	MaxRejected float64

	// Key says for whom a Mode of [uprung.Percent] enforces, and has no other use. Nil
	// means the host of the URL.
	Key func(*http.Request) (string, bool)

	// Skip exempts requests of Transport: those for which it returns true are neither
	// refused nor counted. Nil exempts none.
	Skip func(*http.Request) bool

	// Seed makes the decisions repeatable. Zero means that they are not.
	Seed uint64
}

// Throttle sends a service that is overloaded less: of what would be refused there, it
// refuses most here, where that costs next to nothing. It goes by answers of
// [uprung.Overload] alone; failures are a breaker's. Use [NewThrottle], and one for each
// service.
//
// It is safe for concurrent use.
type Throttle struct {
	o        ThrottleOptions
	settings []uprung.Setting
	mode     atomic.Int32
	origin   time.Time // of all instants
	period   period
	draws    atomic.Uint64
	refusal  *uprung.Rejection

	requests window       // accepted ones are good, overloads and local refusals bad
	trouble  atomic.Int64 // until when there can be an overload in the window

	overloads, ignored, rejected, shadowed atomic.Uint64
}

// NewThrottle returns a throttle. Nil options are the defaults. The error names every
// field that is not valid.
func NewThrottle(o *ThrottleOptions) (*Throttle, error) {
	if o == nil {
		o = &ThrottleOptions{}
	}
	t := &Throttle{o: *o, origin: time.Now()}
	t.o.Name = cmp.Or(o.Name, "default")
	t.o.K = cmp.Or(o.K, 1.5)
	t.o.Window = cmp.Or(o.Window, time.Second)
	t.o.MaxRejected = cmp.Or(o.MaxRejected, 0.9)
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("breaker: "+format, args...)) }
	if err := option.CheckName("Name", t.o.Name); err != nil {
		bad("%w", err)
	}
	if err := t.o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	if !(t.o.K > 1) || math.IsInf(t.o.K, 0) {
		bad("K is %v, want more than 1", o.K)
	}
	if t.o.Window < 100*time.Millisecond || t.o.Window > longest {
		bad("Window is %v, want 100ms to %v", o.Window, longest)
	}
	if !(t.o.MaxRejected > 0 && t.o.MaxRejected < 1) {
		bad("MaxRejected is %v, want more than 0 and less than 1", o.MaxRejected)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t.period = newPeriod(t.o.Window)
	t.trouble.Store(never)
	t.mode.Store(int32(t.o.Mode))
	t.refusal = &uprung.Rejection{Kind: uprung.KindThrottle, Name: t.o.Name, Reason: ErrThrottled, RetryAfter: t.o.Window}
	t.settings = []uprung.Setting{
		{Name: "Mode", Value: t.o.Mode.String(), Default: t.o.Mode == uprung.Enforce},
		{Name: "K", Value: fmt.Sprint(t.o.K), Default: o.K == 0},
		{Name: "Window", Value: t.o.Window.String(), Default: o.Window == 0},
		{Name: "MaxRejected", Value: fmt.Sprint(t.o.MaxRejected), Default: o.MaxRejected == 0},
		{Name: "Skip", Value: option.Function(o.Skip != nil, "none"), Default: o.Skip == nil},
	}
	return t, nil
}

// Mode returns the mode in force.
func (t *Throttle) Mode() uprung.Mode { return uprung.Mode(t.mode.Load()) }

// SetMode changes the mode while requests go on. An invalid mode is an error and changes
// nothing.
func (t *Throttle) SetMode(mode uprung.Mode) error {
	if err := mode.Validate(); err != nil {
		return fmt.Errorf("breaker: %w", err)
	}
	t.mode.Store(int32(mode))
	return nil
}

func (t *Throttle) now() int64 { return int64(time.Since(t.origin)) }

// Allow asks whether a request may be sent. The error is a [*uprung.Rejection] that
// matches [ErrThrottled]; otherwise Done is to be told how the request has ended. It
// never blocks and does not allocate. Under Percent it has no key, and goes by the empty
// one.
func (t *Throttle) Allow() error { return t.allow(nil) }

func (t *Throttle) allow(r *http.Request) error {
	if t.trouble.Load() == never {
		return nil // there has never been an overload
	}
	return t.allowAt(t.now(), r)
}

// random returns a random number in [0, 1).
func (t *Throttle) random() float64 {
	if t.o.Seed == 0 {
		return rand.Float64()
	}
	return rand.New(rand.NewPCG(t.o.Seed, t.draws.Add(1))).Float64()
}

// allowAt decides at an instant.
func (t *Throttle) allowAt(now int64, r *http.Request) error {
	mode := t.Mode()
	if now >= t.trouble.Load() || mode == uprung.Off {
		return nil
	}
	epoch := t.period.of(now)
	if t.random() >= t.share(epoch) {
		return nil
	}
	if mode != uprung.Enforce && !mode.Enforces(t.key(r)) {
		t.shadowed.Add(1)
		return nil
	}
	t.requests.add(epoch, badOne)
	t.rejected.Add(1)
	return t.refusal
}

// key returns what Percent goes by.
func (t *Throttle) key(r *http.Request) string {
	switch {
	case r == nil:
		return ""
	case t.o.Key == nil:
		return r.URL.Host
	}
	k, _ := t.o.Key(r)
	return k
}

// share returns the share of requests to be refused (Site Reliability Engineering,
// chapter 21, equation 2: client request rejection probability), but at most as many as
// the options say.
func (t *Throttle) share(epoch uint64) float64 {
	accepted, refused := t.requests.sum(epoch)
	requests := float64(accepted + refused)
	return min(t.o.MaxRejected, max(0, (requests-t.o.K*float64(accepted))/(requests+1)))
}

// Done says how a request has ended that Allow has let through. What is
// [uprung.Ignored] does not count.
func (t *Throttle) Done(o uprung.Outcome) { t.doneAt(t.now(), o) }

func (t *Throttle) doneAt(now int64, o uprung.Outcome) {
	switch o {
	case uprung.Ignored:
		t.ignored.Add(1)
		return
	case uprung.Overload:
		t.overloads.Add(1)
		if til := now + int64(t.o.Window); til > t.trouble.Load() {
			t.trouble.Store(til)
		}
	}
	t.requests.add(t.period.of(now), one(o == uprung.Overload))
}

// Transport refuses some of the requests through base while it answers that it is
// overloaded. A nil base means [http.DefaultTransport]. It goes by the headers of
// responses. Put it inside of retries.
func (t *Throttle) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &throttled{throttle: t, base: base}
}

type throttled struct {
	throttle *Throttle
	base     http.RoundTripper
}

// Unwrap returns the round tripper below.
func (t *throttled) Unwrap() http.RoundTripper { return t.base }

// Layer describes the throttle.
func (t *throttled) Layer() uprung.Layer { return t.throttle.Layer() }

// CloseIdleConnections does so at the base, for [http.Client.CloseIdleConnections].
func (t *throttled) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// RoundTrip sends a request, or refuses it.
func (t *throttled) RoundTrip(r *http.Request) (*http.Response, error) {
	th := t.throttle
	if th.Mode() == uprung.Off || th.o.Skip != nil && th.o.Skip(r) {
		return t.base.RoundTrip(r)
	}
	if err := th.allow(r); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must close it, and the error that matters is err
		}
		return nil, err
	}
	outcome := uprung.Failure // of a panic, which goes on
	defer func() { th.Done(outcome) }()
	resp, err := t.base.RoundTrip(r)
	switch {
	case err == nil && resp != nil:
		outcome = uprung.ResponseOutcome(resp.StatusCode, resp.Header)
	case rejected(err), errors.Is(r.Context().Err(), context.Canceled):
		outcome = uprung.Ignored
	}
	return resp, err
}

// ThrottleStats are the figures of a [Throttle], since it was made.
type ThrottleStats struct {
	// Accepted, Overloads and Ignored are results of requests; those of Failure are
	// accepted, as they say nothing of an overload.
	Accepted, Overloads, Ignored uint64
	// Rejected requests were refused, and Shadowed ones let through because of the mode.
	Rejected, Shadowed uint64
	// Share is the share of requests that is refused at this moment.
	Share float64
}

// Stats returns a snapshot.
func (t *Throttle) Stats() ThrottleStats {
	s := ThrottleStats{
		Overloads: t.overloads.Load(), Ignored: t.ignored.Load(),
		Rejected: t.rejected.Load(), Shadowed: t.shadowed.Load(), Share: t.share(t.period.of(t.now())),
	}
	s.Accepted, _ = t.requests.totals()
	return s
}

// Metrics yields the figures. It makes a Throttle an [uprung.Source].
func (t *Throttle) Metrics(yield func(uprung.Metric) bool) {
	s := t.Stats()
	name := uprung.Label{Name: "throttle", Value: t.o.Name}
	const results, resultsHelp = "uprung_breaker_throttle_results_total", "Results of requests by outcome; failures are accepted, too."
	const refused, refusedHelp = "uprung_breaker_throttle_refused_total", "Requests that were refused, and those that would have been but for the mode."
	counter := func(metric, help string, value uint64, label, of string) uprung.Metric {
		return uprung.Metric{Name: metric, Help: help, Type: uprung.Counter, Value: float64(value), Labels: []uprung.Label{name, {Name: label, Value: of}}}
	}
	for _, m := range []uprung.Metric{
		counter(results, resultsHelp, s.Accepted, "outcome", "accepted"),
		counter(results, resultsHelp, s.Overloads, "outcome", uprung.Overload.String()),
		counter(results, resultsHelp, s.Ignored, "outcome", uprung.Ignored.String()),
		counter(refused, refusedHelp, s.Rejected, "action", "refuse"),
		counter(refused, refusedHelp, s.Shadowed, "action", "shadow"),
		{Name: "uprung_breaker_throttle_refused_ratio", Help: "Share of requests that is refused at this moment.", Type: uprung.Gauge, Value: s.Share, Labels: []uprung.Label{name}},
	} {
		if !yield(m) {
			return
		}
	}
}

// Layer describes the throttle and its effective settings.
func (t *Throttle) Layer() uprung.Layer {
	settings := slices.Clone(t.settings)
	mode := t.Mode()
	settings[0] = uprung.Setting{Name: "Mode", Value: mode.String(), Default: mode == uprung.Enforce}
	return uprung.Layer{Kind: uprung.KindThrottle, Name: t.o.Name, Settings: settings}
}
