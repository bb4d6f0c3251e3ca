package ratelimit

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
)

// concurrencyFace is what the HTTP faces need beyond the limit.
type concurrencyFace struct {
	sticky        key.Func // what a percentage is of, where there are no tenants
	busy, expired *httpx.Problem
}

func newConcurrencyFace(o *ConcurrencyOptions) (concurrencyFace, error) {
	busy, err := httpx.NewProblem(http.StatusServiceUnavailable, &httpx.ProblemOptions{
		Detail: "The server has as much to do as it can.",
	})
	expired, err2 := httpx.NewProblem(http.StatusGatewayTimeout, &httpx.ProblemOptions{
		Detail: "The request came too late to be answered in time.",
	})
	sticky := o.Tenant
	if sticky == nil {
		sticky = key.Direct(nil)
	}
	return concurrencyFace{sticky: sticky, busy: busy, expired: expired}, errors.Join(err, err2)
}

// claim returns what a request is, and the key that a percentage is of.
func (c *Concurrency) claim(r *http.Request) (claim Claim, sticky string) {
	if c.o.Priority != nil {
		claim.Priority = c.o.Priority(r)
	}
	if c.o.Tenant != nil {
		claim.Tenant, _ = c.o.Tenant(r)
		return claim, claim.Tenant
	}
	if mode := c.Mode(); mode > 0 {
		sticky, _ = c.face.sticky(r)
	}
	return claim, sticky
}

// exempt reports whether a request passes uncounted.
func (c *Concurrency) exempt(r *http.Request) bool {
	return c.Mode() == uprung.Off || c.o.Skip != nil && c.o.Skip(r)
}

// Middleware bounds the requests that are in progress in next. Those for which there is
// no place are answered 503 with Retry-After, those whose deadline has passed 504, as
// Options say, before any work is done. It is an [uprung.Middleware].
//
// A request takes its place until its handler returns, and the time that the limit
// learns from is that until the headers. A response that lasts, that is an upgraded
// connection or a text/event-stream, moves to the places for streams then.
func (c *Concurrency) Middleware(next http.Handler) http.Handler {
	return &concurrencyHandler{limit: c, next: next}
}

type concurrencyHandler struct {
	limit *Concurrency
	next  http.Handler
}

// Unwrap returns the handler whose requests are bounded.
func (h *concurrencyHandler) Unwrap() http.Handler { return h.next }

// Layer describes the limit.
func (h *concurrencyHandler) Layer() uprung.Layer { return h.limit.Layer() }

// ServeHTTP gives a request a place, or refuses it.
func (h *concurrencyHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := h.limit
	if c.exempt(r) {
		h.next.ServeHTTP(w, r)
		return
	}
	claim, sticky := c.claim(r)
	token, err := c.acquire(r.Context(), claim, sticky)
	if err != nil {
		c.refuse(w, r, err)
		return
	}
	answered := false
	httpx.Serve(h.next, w, r, func(status int) {
		answered = true
		outcome := uprung.ResponseOutcome(status, w.Header())
		if outcome == uprung.Overload {
			outcome = uprung.Ignored // the refusal of another guard within, which took no work
		}
		token.Answered(outcome)
		if status == http.StatusSwitchingProtocols || isEvents(w.Header()) {
			token = token.Stream()
		}
	}, func(httpx.Response) {
		if !answered {
			token.Answered(uprung.Failure)
		}
		token.Leave()
	})
}

// isEvents reports whether a response is a stream of events, which lasts.
func isEvents(h http.Header) bool {
	value := h.Get("Content-Type")
	if len(value) < len(eventStream) {
		return false
	}
	media, _, err := mime.ParseMediaType(value)
	return err == nil && media == eventStream
}

const eventStream = "text/event-stream"

// refuse answers a request that has no place.
func (c *Concurrency) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if c.o.Refused == nil {
		c.Refuse(w, r, err)
		return
	}
	if rejection, ok := errors.AsType[*uprung.Rejection](err); ok {
		setRetryAfter(w.Header(), rejection)
	}
	c.o.Refused(w, r, err)
}

// Refuse answers a request with the status and the problem document (RFC 9457) that are
// Middleware's by default: 503 with Retry-After for [ErrBusy], and 504 for
// [ErrExpired]. One whose client has gone is answered 503 too, for the log.
func (c *Concurrency) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrExpired) {
		c.face.expired.Write(w, r, 0)
		return
	}
	c.face.busy.Write(w, r, c.o.RetryAfter)
}

// Layer describes the limit and its effective settings.
func (c *Concurrency) Layer() uprung.Layer {
	mode, limit := c.Mode(), c.InFlight()
	streams := strconv.Itoa(max(c.o.Streams, 0))
	return uprung.Layer{Kind: uprung.KindConcurrency, Name: c.name, Settings: []uprung.Setting{
		{Name: "InFlight", Value: limit.String()},
		{Name: "Mode", Value: mode.String(), Default: mode == uprung.Enforce},
		{Name: "Queue", Value: strconv.Itoa(c.o.Queue), Default: c.o.Queue == 0},
		{Name: "QueueWait", Value: c.o.QueueWait.String(), Default: c.o.QueueWait == defaultQueueWait},
		{Name: "Streams", Value: streams, Default: c.o.Streams == defaultStreams},
		{Name: "RetryAfter", Value: c.o.RetryAfter.String(), Default: c.o.RetryAfter == time.Second},
		{Name: "Tenant", Value: option.Function(c.o.Tenant != nil, "none"), Default: c.o.Tenant == nil},
		{Name: "Priority", Value: option.Function(c.o.Priority != nil, Normal.String()), Default: c.o.Priority == nil},
		{Name: "Skip", Value: option.Function(c.o.Skip != nil, "none"), Default: c.o.Skip == nil},
		{Name: "Refused", Value: option.Function(c.o.Refused != nil, "problem document"), Default: c.o.Refused == nil},
	}}
}

// Transport bounds the requests that go out through base and are in progress at once:
// a bulkhead. What finds no place is refused with a [*uprung.Rejection], its body is
// closed, and base not asked. A request takes its place until the body of its response
// has ended, and the time that the limit learns from is that until the headers. An
// answer that says that the server is overloaded lowers an adaptive limit. A nil base
// means [http.DefaultTransport].
func (c *Concurrency) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &concurrencyTransport{limit: c, base: base}
}

type concurrencyTransport struct {
	limit *Concurrency
	base  http.RoundTripper
}

// Unwrap returns the round tripper whose requests are bounded.
func (t *concurrencyTransport) Unwrap() http.RoundTripper { return t.base }

// CloseIdleConnections does so at the base, for [http.Client.CloseIdleConnections].
func (t *concurrencyTransport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// Layer describes the limit.
func (t *concurrencyTransport) Layer() uprung.Layer { return t.limit.Layer() }

// RoundTrip gives a request a place, or refuses it.
func (t *concurrencyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := t.limit
	if c.exempt(r) {
		return t.base.RoundTrip(r)
	}
	claim, sticky := c.claim(r)
	token, err := c.acquire(r.Context(), claim, sticky)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must close it, and the error that matters is err
		}
		return nil, err
	}
	held := true
	defer func() {
		if held { // a panic, which goes on
			token.Leave()
		}
	}()
	began := time.Now()
	resp, err := t.base.RoundTrip(r)
	held = false
	if err != nil {
		token.Release(uprung.ErrorOutcome(r.Context(), err, time.Since(began), 0))
		return resp, err
	}
	token.Answered(uprung.ResponseOutcome(resp.StatusCode, resp.Header))
	if resp.StatusCode == http.StatusSwitchingProtocols || isEvents(resp.Header) {
		token = token.Stream()
	}
	httpx.ObserveBody(r.Context(), resp, leaving(token))
	return resp, nil
}

// leaving gives a place back at the end of a body.
type leaving Token

// BodyEnded is called once.
func (l leaving) BodyEnded(error) { Token(l).Leave() }
