package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
)

// ErrMissingKey is the error with which Middleware refuses a request that has no
// key, under [key.MissingRefused].
var ErrMissingKey = errors.New("ratelimit: request has no key")

// face is what Middleware needs beyond the limiter: the checked options.
type face struct {
	name, quotedName string
	key              key.Func // of requests that come in
	outgoingKey      key.Func // of requests that go out
	missing          key.Missing
	cost             func(*http.Request) int64
	headers          Headers
	refused          func(http.ResponseWriter, *http.Request, error)
	skip             func(*http.Request) bool
	counts           func(status int) bool
	facts            []uprung.Fact
	settings         []uprung.Setting // of Middleware
	outgoing         []uprung.Setting // of Transport

	limited, exceeding, keyless, away, broken *httpx.Problem
}

// newFace checks and completes the options of the HTTP face.
func newFace(o *Options) (face, []error) {
	f := face{name: o.Name, key: o.Key, outgoingKey: o.Key, missing: o.MissingKey, cost: o.Cost, headers: o.Headers, refused: o.Refused, skip: o.Skip, counts: o.Count, facts: slices.Clone(o.Facts)}
	var errs []error
	if f.name == "" {
		f.name = "default"
	}
	if err := option.CheckName("Name", f.name); err != nil {
		errs = append(errs, err)
	}
	if f.headers > HeadersLegacy {
		errs = append(errs, fmt.Errorf("Headers is %d, want HeadersIETF, HeadersNone or HeadersLegacy", o.Headers))
	}
	if err := f.missing.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("MissingKey: %w", err))
	}
	if f.key == nil {
		f.key, f.outgoingKey = key.Direct(nil), hostKey
	}
	f.quotedName = quoted(f.name)
	if len(errs) == 0 {
		errs = f.prepareProblems()
	}
	f.outgoing = []uprung.Setting{
		{Name: "Algorithm", Value: o.Algorithm.String(), Default: o.Algorithm == TokenBucket},
		{Name: "Capacity", Value: strconv.Itoa(cmp.Or(o.Capacity, DefaultCapacity)), Default: o.Capacity == 0},
		{Name: "LimitFor", Value: option.Function(o.LimitFor != nil, "none"), Default: o.LimitFor == nil},
		{Name: "Key", Value: option.Function(o.Key != nil, "the host of the URL"), Default: o.Key == nil},
		{Name: "MissingKey", Value: o.MissingKey.String(), Default: o.MissingKey == key.MissingRefused},
		{Name: "Cost", Value: option.Function(o.Cost != nil, "1"), Default: o.Cost == nil},
		{Name: "Skip", Value: option.Function(o.Skip != nil, "none"), Default: o.Skip == nil},
	}
	f.settings = append(slices.Clone(f.outgoing), []uprung.Setting{
		{Name: "Count", Value: option.Function(o.Count != nil, "every request"), Default: o.Count == nil},
		{Name: "Headers", Value: o.Headers.String(), Default: o.Headers == HeadersIETF},
		{Name: "Refused", Value: option.Function(o.Refused != nil, "problem document"), Default: o.Refused == nil},
	}...)
	if o.Key == nil {
		f.settings[3].Value = "key.Direct"
	}
	return f, errs
}

// prepareProblems encodes the answers to refused requests.
func (f *face) prepareProblems() (errs []error) {
	prepare := func(status int, o *httpx.ProblemOptions) *httpx.Problem {
		problem, err := httpx.NewProblem(status, o)
		if err != nil {
			errs = append(errs, err)
		}
		return problem
	}
	exceeded := httpx.ProblemOptions{
		// Registered by draft-ietf-httpapi-ratelimit-headers-11, section 6.
		Type:       "https://iana.org/assignments/http-problem-types#quota-exceeded",
		Title:      "The quota of this client is used up",
		Extensions: map[string]any{"violated-policies": []string{f.name}},
	}
	f.limited = prepare(http.StatusTooManyRequests, &exceeded)
	exceeded.Detail = "The request costs more than the whole quota. It can not be granted later either."
	f.exceeding = prepare(http.StatusTooManyRequests, &exceeded)
	f.keyless = prepare(http.StatusBadRequest, &httpx.ProblemOptions{
		Detail: "The request lacks what identifies its sender.",
	})
	f.away = prepare(http.StatusServiceUnavailable, &httpx.ProblemOptions{
		// Of the same section.
		Type:  "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
		Title: "Requests can not be counted at the moment",
	})
	f.broken = prepare(http.StatusInternalServerError, nil)
	return errs
}

// Middleware limits the requests to next: those that the limit of their key
// grants pass, the others are refused with 429 as Options say. It is an
// [uprung.Middleware].
func (l *Limiter) Middleware(next http.Handler) http.Handler {
	return &handler{limiter: l, next: next}
}

type handler struct {
	limiter *Limiter
	next    http.Handler
}

// Unwrap returns the handler that is limited.
func (h *handler) Unwrap() http.Handler { return h.next }

// Layer describes the limiter.
func (h *handler) Layer() uprung.Layer { return h.limiter.Layer() }

// ServeHTTP decides on a request and passes it on or refuses it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l := h.limiter
	var c call
	applies, err := l.prepare(&c, r, l.face.key)
	if applies && err == nil {
		c.now = l.now()
		if err = l.decide(&c); err == nil {
			if rejection := l.announce(w.Header(), &c); rejection != nil {
				err = rejection
			}
		}
	}
	switch {
	case err != nil:
		l.refuse(w, r, err)
	case c.charge > 0 && l.face.counts != nil:
		l.serveAndCount(h.next, w, r, c)
	default:
		h.next.ServeHTTP(w, r)
	}
}

// serveAndCount serves a request that has taken what c says, and gives it back if
// the response does not count.
func (l *Limiter) serveAndCount(next http.Handler, w http.ResponseWriter, r *http.Request, c call) {
	httpx.Serve(next, w, r, nil, func(response httpx.Response) { l.undoUnlessItCounts(&c, response) })
}

func (l *Limiter) undoUnlessItCounts(c *call, response httpx.Response) {
	if !response.Aborted && !l.face.counts(response.Status) {
		l.undo(c)
	}
}

// Failures is a value of Options.Count: a status of 400 or more counts, also one
// of the server's own failures. Where clients should not answer for those, or a
// form that is wrong is answered 200, write another:
//
//	Count: func(status int) bool { return status == http.StatusUnauthorized },
func Failures(status int) bool { return status >= 400 }

// prepare finds the key and the cost of a request. It returns false if the
// request passes without a decision, and an error if it is to be refused without
// one.
func (l *Limiter) prepare(c *call, r *http.Request, keyOf key.Func) (applies bool, err error) {
	if applies, err = l.face.prepare(c, r, keyOf, l.load().mode); !applies {
		if err != nil {
			l.refusedKeyless.Add(1)
		}
		return false, err
	}
	if c.hash = l.keyless; !c.keyless {
		c.hash = l.hash(c.key)
	}
	return true, nil
}

// prepare fills in the key and the cost of a request, under a mode. It returns
// false if the request passes without a decision or, with [ErrMissingKey], is to be
// refused without one.
func (f *face) prepare(c *call, r *http.Request, keyOf key.Func, mode uprung.Mode) (applies bool, err error) {
	if mode == uprung.Off || f.skip != nil && f.skip(r) {
		return false, nil
	}
	var ok bool
	if c.key, ok = keyOf(r); !ok {
		c.key = "" // whatever came with false
		switch {
		case f.missing == key.MissingAdmitted:
			return false, nil
		case f.missing == key.MissingShared:
			c.keyless = true
		case mode.Enforces(""):
			return false, ErrMissingKey
		default:
			return false, nil
		}
	}
	c.n = 1
	if f.cost != nil {
		if c.n = f.cost(r); c.n < 0 && !mode.Enforces(c.key) {
			c.n = 0 // what does not enforce stops nobody
		}
	}
	return c.n != 0, nil
}

// announce writes the header fields for a decision. It returns the rejection if
// the request was denied.
func (l *Limiter) announce(h http.Header, c *call) *uprung.Rejection {
	if l.face.headers != HeadersNone && c.settings.mode.Enforces(c.key) && !c.budget.always() {
		l.writeFields(h, c)
	}
	if c.ok {
		return nil
	}
	rejection := l.rejection(c)
	setRetryAfter(h, rejection)
	return rejection
}

// setRetryAfter tells how long to wait, if that helps.
func setRetryAfter(h http.Header, rejection *uprung.Rejection) {
	if rejection.RetryAfter > 0 {
		h[retryField] = []string{strconv.FormatInt(wholeSeconds(rejection.RetryAfter), 10)}
	} else {
		delete(h, retryField)
	}
}

// writeFields adds the RateLimit fields to a response. Those of several limiters
// on one request make one list.
func (l *Limiter) writeFields(h http.Header, c *call) {
	policy := c.settings.policy
	if c.own && l.face.headers == HeadersIETF {
		policy = policyOf(l.face.quotedName, &c.budget)
	}
	res := c.result()
	l.face.writeFields(h, policy, &res)
}

// writeFields adds the fields for a result under a policy.
func (f *face) writeFields(h http.Header, policy string, res *Result) {
	after := res.ResetAfter
	if res.RetryAfter > 0 {
		after = res.RetryAfter
	}
	if f.headers == HeadersLegacy {
		writeLegacy(h, res, after)
		return
	}
	addFields(h, policy, statusOf(f.quotedName, res.Remaining, after))
}

// refuse answers a request that may not pass.
func (l *Limiter) refuse(w http.ResponseWriter, r *http.Request, err error) { l.face.refuse(w, r, err) }

func (f *face) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if f.refused != nil {
		f.refused(w, r, err)
		return
	}
	f.answer(w, r, err)
}

// Refuse answers a request with the status and the problem document (RFC 9457)
// that are Middleware's by default: 429 for a rejection, 400 for [ErrMissingKey],
// and 500 for any other error.
func (l *Limiter) Refuse(w http.ResponseWriter, r *http.Request, err error) { l.face.answer(w, r, err) }

// answer writes the problem document of an error.
func (f *face) answer(w http.ResponseWriter, r *http.Request, err error) {
	rejection, rejected := errors.AsType[*uprung.Rejection](err)
	switch {
	case errors.Is(err, ErrExceedsBurst):
		f.exceeding.Write(w, r, 0)
	case errors.Is(err, ErrUnavailable):
		wait := time.Second // until somebody may have found it
		if rejected && rejection.RetryAfter > 0 {
			wait = rejection.RetryAfter
		}
		f.away.Write(w, r, wait)
	case rejected:
		f.limited.Write(w, r, max(rejection.RetryAfter, 0))
	case errors.Is(err, ErrMissingKey):
		f.keyless.Write(w, r, 0)
	default:
		f.broken.Write(w, r, 0)
	}
}

// Layer describes the limiter and its effective settings.
func (l *Limiter) Layer() uprung.Layer {
	return l.layer(l.face.key, l.face.settings)
}

// layer describes one of the faces.
func (l *Limiter) layer(keyOf key.Func, settings []uprung.Setting) uprung.Layer {
	s := l.load()
	return uprung.Layer{Kind: uprung.KindRateLimit, Name: l.name, Facts: l.face.factsOf(keyOf), Settings: append([]uprung.Setting{
		{Name: "Limit", Value: s.limit.String()},
		{Name: "Mode", Value: s.mode.String(), Default: s.mode == uprung.Enforce},
	}, settings...)}
}

// factsOf returns what is known of a key.
func (f *face) factsOf(keyOf key.Func) []uprung.Fact {
	if f.facts == nil && byAddress(keyOf) {
		return []uprung.Fact{uprung.ByClientAddress}
	}
	return slices.Clone(f.facts)
}

// byAddress reports whether a key tells two peers apart by their addresses, which
// are ones for documentation (RFC 5737) that no list of proxies holds.
func byAddress(keyOf key.Func) (differ bool) {
	defer func() {
		if recover() != nil {
			differ = false // a key that needs more of a request than this one has
		}
	}()
	of := func(peer string) string {
		k, _ := keyOf(&http.Request{
			Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}, RemoteAddr: peer,
		})
		return k
	}
	return of("192.0.2.1:1") != of("198.51.100.1:1")
}
