package retry

import (
	"net/http"
	"time"

	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/hedgepolicy"
	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/retry"
)

// wrapper puts what repeats requests around a round tripper.
type wrapper func(base http.RoundTripper) (http.RoundTripper, error)

// entrant is an implementation.
type entrant struct {
	name string
	wrap wrapper
}

const (
	// none is the base alone.
	none     = "none"
	failsafe = "failsafe-go"
)

// hedgeAt is the quantile of response times after which a second request is sent.
const hedgeAt = 0.95

// succeeding meet where nothing fails.
var succeeding = []entrant{
	{bench.Ours, uprung(nil)},
	{bench.Ours + "-hedged", uprung(&retry.Options{HedgeAt: hedgeAt})},
	{bench.Ours + "-timeout", uprung(&retry.Options{AttemptTimeout: time.Second})},
	{failsafe, wrapFailsafe},
	{none, wrapNone},
}

// repeating meet where every request is repeated once, and none waits before. With the
// default budget ours would repeat every tenth.
var repeating = []entrant{
	{bench.Ours, uprung(&retry.Options{Backoff: 1, Budget: retry.Budget{PerRequest: 1}})},
	{failsafe, wrapFailsafe},
	{none, func(base http.RoundTripper) (http.RoundTripper, error) { return &twice{base}, nil }},
}

// hedging meet in virtual time.
var hedging = []entrant{
	{bench.Ours, uprung(&retry.Options{HedgeAt: hedgeAt})},
	{failsafe, wrapFailsafeHedge},
	{none, wrapNone},
}

// names returns those of entrants.
func names(entrants []entrant) []string {
	all := make([]string, len(entrants))
	for i, one := range entrants {
		all[i] = one.name
	}
	return all
}

func uprung(o *retry.Options) wrapper {
	return func(base http.RoundTripper) (http.RoundTripper, error) {
		r, err := retry.New(o)
		if err != nil {
			return nil, err
		}
		return r.Transport(base), nil
	}
}

// wrapFailsafe has the policy for HTTP, which repeats twice, without a pause.
func wrapFailsafe(base http.RoundTripper) (http.RoundTripper, error) {
	return failsafehttp.NewRoundTripper(base, failsafehttp.NewRetryPolicyBuilder().Build()), nil //nolint:bodyclose // a policy for responses is none
}

// wrapFailsafeHedge has the quantile of the comment on the policy, which advises no
// other numbers. They are of about as many requests as ours remembers in the suite, so
// that what differs are the decisions, and begin to count as early.
func wrapFailsafeHedge(base http.RoundTripper) (http.RoundTripper, error) {
	return failsafehttp.NewRoundTripper(base, hedgepolicy.NewWithDelayQuantile[*http.Response](hedgeAt, 1500, 20)), nil //nolint:bodyclose // a policy for responses is none
}

func wrapNone(base http.RoundTripper) (http.RoundTripper, error) { return base, nil }

// twice repeats what failed once, and does nothing else that it would take.
type twice struct{ base http.RoundTripper }

func (t *twice) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(r)
	if err != nil || resp.StatusCode == http.StatusOK {
		return resp, err
	}
	_ = resp.Body.Close()
	return t.base.RoundTrip(r)
}
