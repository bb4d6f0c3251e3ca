package retry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
)

// AttemptHeader is the header field that carries the number of an attempt, from the
// second on. What has it is not repeated by a further [Retrier]. In a response it is
// [LastAttempt].
const AttemptHeader = "Uprung-Attempt"

const (
	// maxMoves bounds how often a request moves on from endpoints that it does not
	// reach.
	maxMoves = 64
	// drained is how much of a discarded response is read, so that its connection can
	// be used again, and drainFor how long that may take.
	drained  = 4 << 10
	drainFor = 50 * time.Millisecond
)

// Transport sends requests through base, and again what fails, as Options say. A nil
// base means [http.DefaultTransport]. Put it outside of a balancer, whose choice it
// then makes for each attempt: the balancer avoids the endpoints that were tried.
//
// Each attempt is given the request's context, or one that ends with the attempt and
// lives until the body of the response is read or closed. Attempts from the second on
// are copies of the request with the header [AttemptHeader].
func (r *Retrier) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	balanced := slices.ContainsFunc(uprung.TransportLayers(base), func(l uprung.Layer) bool { return l.Kind == uprung.KindBalance })
	return &transport{
		retrier: r, base: base, balanced: balanced,
		plain: !balanced && r.o.AttemptTimeout == 0 && r.o.HedgeAt == 0,
	}
}

type transport struct {
	retrier  *Retrier
	base     http.RoundTripper
	balanced bool // there is a choice of endpoints below
	plain    bool // the first attempt is the request as it is
}

// Unwrap returns the round tripper below.
func (t *transport) Unwrap() http.RoundTripper { return t.base }

// Layer describes the retrier.
func (t *transport) Layer() uprung.Layer { return t.retrier.Layer() }

// CloseIdleConnections does so at the base, for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// RoundTrip sends a request as often as it takes and may.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	r := t.retrier
	_, nested := request.Header[AttemptHeader]
	if nested || r.o.Skip != nil && r.o.Skip(request) {
		return t.base.RoundTrip(request)
	}
	if attempt := OriginOf(request.Context()).Attempt(); attempt > 0 {
		return t.base.RoundTrip(numbered(request.Context(), request, attempt))
	}
	if r.Mode() == uprung.Off {
		return t.base.RoundTrip(request)
	}
	loop := r.Begin(request.URL.Host)
	r.hedges.request()
	var c *call
	var resp *http.Response
	var err error
	if t.plain {
		resp, err = t.base.RoundTrip(request)
	} else {
		c = t.newCall(request)
		resp, err = c.send()
	}
	verdict := judge(request.Context(), resp, err)
	if verdict == final {
		return resp, err
	}
	if c == nil {
		c = t.newCall(request)
		c.sent = 1
	}
	return c.repeat(loop, verdict, resp, err)
}

// verdict says what is to be done about an attempt.
type verdict uint8

const (
	final    verdict = iota // it is returned
	failed                  // it may be repeated, if that is harmless
	unseen                  // no server has seen it
	declined                // an endpoint's own guard has refused it
)

// judge looks at the result of an attempt.
func judge(ctx context.Context, resp *http.Response, err error) verdict {
	if err == nil {
		switch resp.StatusCode {
		case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
			return final // and so it will be the next time
		}
		switch uprung.ResponseOutcome(resp.StatusCode, resp.Header) {
		case uprung.Failure, uprung.Overload:
			if resp.Header.Get(AttemptHeader) == LastAttempt {
				OriginOf(ctx).Spend()
				return final
			}
			return failed
		}
		return final
	}
	if ctx.Err() != nil {
		return final
	}
	if rejection, ok := errors.AsType[*uprung.Rejection](err); ok {
		if rejection.Kind == uprung.KindBreaker {
			return declined
		}
		return final
	}
	if unsent(err) {
		return unseen
	}
	return failed
}

// call is a request that may be sent more than once.
type call struct {
	t       *transport
	request *http.Request
	ctx     context.Context //nolint:containedctx // the context of the request, with attempt
	attempt *uprung.Attempt // what has been tried, if there is a choice; may be the caller's
	sent    int             // attempts of any kind
}

func (t *transport) newCall(request *http.Request) *call {
	c := &call{t: t, request: request, ctx: request.Context()}
	if t.balanced {
		if c.attempt = uprung.AttemptOf(c.ctx); c.attempt == nil {
			c.attempt = new(uprung.Attempt)
			c.ctx = uprung.WithAttempt(c.ctx, c.attempt)
		}
	}
	return c
}

// replayable reports whether the body of the request can be had again.
func (c *call) replayable() bool {
	return c.request.Body == nil || c.request.Body == http.NoBody || c.request.GetBody != nil
}

// repeat does what is to be done about a first attempt, and about those that follow.
func (c *call) repeat(loop Loop, v verdict, resp *http.Response, err error) (*http.Response, error) {
	for v != final {
		pause, ok := time.Duration(0), false
		switch {
		case v == declined && !c.reached(), v == failed && !loop.r.o.Idempotent(c.request), !c.replayable():
			loop.Stop()
		case v == failed:
			asked := time.Duration(0)
			if err == nil {
				asked, _ = retryAfter(resp.Header, time.Now())
			}
			pause, ok = loop.again(c.ctx, asked)
		default:
			pause, ok = loop.move(c.ctx, c.reached())
		}
		if !ok {
			break
		}
		discard(resp)
		if err := sleep(c.ctx, pause); err != nil {
			return nil, err
		}
		resp, err = c.send()
		v = judge(c.ctx, resp, err)
	}
	return resp, err
}

// reached reports whether the last attempt was for an endpoint that had not been
// tried before, so that there may be another one.
func (c *call) reached() bool {
	if c.attempt == nil {
		return false
	}
	tried := c.attempt.Tried()
	last := len(tried) - 1
	return last >= 0 && !slices.Contains(tried[:last], tried[last])
}

// discard gives up a response: what is left of it is read, if that is little, and it
// is closed.
func discard(resp *http.Response) {
	if resp == nil {
		return
	}
	timer := time.AfterFunc(drainFor, func() { _ = resp.Body.Close() })
	_, _ = io.CopyN(io.Discard, resp.Body, drained)
	timer.Stop()
	_ = resp.Body.Close()
}

// send sends the request once, or twice if it is hedged.
func (c *call) send() (*http.Response, error) {
	r := c.t.retrier
	if r.o.HedgeAt > 0 && r.o.Idempotent(c.request) && c.replayable() {
		return c.hedge()
	}
	c.sent++
	if r.o.AttemptTimeout > 0 {
		return c.try(c.sent, nil)
	}
	request, err := c.copyFor(c.ctx, c.sent)
	if err != nil {
		return nil, err
	}
	return c.t.base.RoundTrip(request)
}

// copyFor returns the request for an attempt under a context of its own.
func (c *call) copyFor(ctx context.Context, number int) (*http.Request, error) {
	if number == 1 {
		return c.request.WithContext(ctx), nil
	}
	request := numbered(ctx, c.request, number)
	if request.Body != nil && request.Body != http.NoBody {
		body, err := request.GetBody()
		if err != nil {
			return nil, err
		}
		request.Body = body
	}
	return request, nil
}

// numbered returns a copy of a request that says which attempt it is.
func numbered(ctx context.Context, request *http.Request, number int) *http.Request {
	request = request.WithContext(ctx)
	request.Header = request.Header.Clone()
	if request.Header == nil {
		request.Header = http.Header{}
	}
	request.Header.Set(AttemptHeader, strconv.Itoa(number))
	return request
}

// try sends the request under a context that ends with the attempt, and earlier if
// the attempt takes too long. begin, if it is not nil, is given what ends it.
func (c *call) try(number int, begin func(cancel context.CancelCauseFunc)) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(c.ctx)
	returned := false
	defer func() {
		if !returned {
			cancel(nil) // of a panic, which goes on
		}
	}()
	request, err := c.copyFor(ctx, number)
	if err != nil {
		return nil, err
	}
	if begin != nil {
		begin(cancel)
	}
	var timer *time.Timer
	if timeout := c.t.retrier.o.AttemptTimeout; timeout > 0 {
		timer = time.AfterFunc(timeout, func() { cancel(uprung.ErrAttemptTimeout) })
		defer timer.Stop() // of a panic
	}
	resp, err := c.t.base.RoundTrip(request)
	if timer != nil && !timer.Stop() {
		// It has fired, or is about to: then the body could not be read.
		cancel(uprung.ErrAttemptTimeout)
	}
	if cause := context.Cause(ctx); errors.Is(cause, uprung.ErrAttemptTimeout) {
		discard(resp)
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	returned = true
	httpx.ObserveBody(context.Background(), resp, release{cancel})
	return resp, nil
}

// release ends a context when a body has ended.
type release struct{ cancel context.CancelCauseFunc }

// BodyEnded implements [httpx.BodyObserver].
func (r release) BodyEnded(error) { r.cancel(nil) }
