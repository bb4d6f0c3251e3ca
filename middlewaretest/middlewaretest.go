package middlewaretest

import (
	"net/http"
	"testing"
	"time"
)

// Options say how to put questions to a middleware for HTTP handlers. A nil
// *Options means all defaults.
type Options struct {
	// Request prepares every request before it is sent, so that the middleware
	// lets it pass: it adds a key, a token, a cookie. It may be called
	// concurrently, with different requests. Nil means requests are sent as they
	// are.
	Request func(*http.Request)

	// Refusing is the middleware in a state in which it refuses every request: a
	// limiter whose budget is spent, a breaker that is open, or the middleware
	// under test behind a handler that takes the credentials away. The checks
	// named refusal-* run on it. Nil means that the middleware never refuses, and
	// these checks are left out.
	Refusing func(http.Handler) http.Handler

	// Timeout is the deadline that the middleware under test sets to a handler.
	// The check named timeout runs only with it. All other checks have to be
	// through within Timeout too, so that a second is better than a millisecond.
	// Zero means that the middleware has no deadline of its own.
	Timeout time.Duration

	// Wait is the time that one check has on one protocol before what it waits
	// for counts as missing. No check that passes waits for it. Zero means 5s.
	Wait time.Duration

	// Skip maps the names of checks that are left out to the reason for it. A
	// middleware whose purpose contradicts a promise belongs here: one that
	// recovers from panics cannot re-raise them.
	Skip map[string]string
}

// TransportOptions say how to put questions to a wrapper of round trippers. A
// nil *TransportOptions means all defaults.
type TransportOptions struct {
	// Request prepares every request before it is sent, so that the wrapper lets
	// it pass. It may be called concurrently, with different requests. Nil means
	// requests are sent as they are.
	Request func(*http.Request)

	// Refusing is the wrapper in a state in which it refuses every request with
	// an error of its own. The checks named refusal-* run on it. Nil means that
	// the wrapper never refuses, and these checks are left out.
	Refusing func(http.RoundTripper) http.RoundTripper

	// Wait is the time that one check has on one protocol before what it waits
	// for counts as missing. No check that passes waits for it. Zero means 5s.
	Wait time.Duration

	// Skip maps the names of checks that are left out to the reason for it.
	Skip map[string]string
}

// Run puts every check to a middleware, each as a subtest that has the name of
// the check, one after the other. A skipped check is a skipped subtest with its
// reason. If the middleware lets no request pass, the subtest request fails and
// all others are skipped with the reason, except those of refusals. Run returns
// when the last check has ended and its servers are closed.
func Run(t *testing.T, middleware func(http.Handler) http.Handler, o *Options) {
	t.Helper()
	handlerSuite(middleware, o).test(t)
}

// Check puts every check to a middleware and returns what is wrong, in the order
// of the table in the package comment and at most one [Failure] for each check
// and protocol. An empty result means that all promises are kept. If the
// middleware lets no request pass, that is one failure named request, followed
// by those of refusals. Up to two checks run at one time.
func Check(middleware func(http.Handler) http.Handler, o *Options) []Failure {
	return handlerSuite(middleware, o).failures()
}

// RunTransport is [Run] for a wrapper of round trippers.
func RunTransport(t *testing.T, wrap func(http.RoundTripper) http.RoundTripper, o *TransportOptions) {
	t.Helper()
	transportSuite(wrap, o).test(t)
}

// CheckTransport is [Check] for a wrapper of round trippers.
func CheckTransport(wrap func(http.RoundTripper) http.RoundTripper, o *TransportOptions) []Failure {
	return transportSuite(wrap, o).failures()
}

// Failure is a promise that was not kept.
type Failure struct {
	// Check is the name of the check, or "options" if the options themselves are
	// wrong; nothing was checked then.
	Check string
	// Protocol is "HTTP/1.1", "HTTP/2" (over TLS) or "h2c" (HTTP/2 without TLS).
	// It is empty where no connection was needed.
	Protocol string
	// Got is what was seen, Want is what had to be seen.
	Got, Want string
	// Source says where the promise comes from: a section of an RFC, the
	// documentation of net/http, or "this package". It ends in "optional" where
	// the kit demands what its source only offers.
	Source string
}

// String returns the failure as one line of text.
func (f Failure) String() string {
	text := f.Check
	if f.Protocol != "" {
		text += " over " + f.Protocol
	}
	text += ": got " + f.Got + ", want " + f.Want
	if f.Source != "" {
		text += " (" + f.Source + ")"
	}
	return text
}
