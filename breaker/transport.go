package breaker

import (
	"context"
	"errors"
	"net/http"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
)

// Transport stops requests through base while what is there fails: they are refused with
// a [*uprung.Rejection], and their body is closed. How a request has ended is known when
// the body of its response has been read or closed: one that breaks off is a failure,
// after a 200 too. How long it takes up to the headers is what may be slow. A nil base
// means [http.DefaultTransport].
//
// Put it inside of retries, so that it sees each attempt, and one for each service; with
// several endpoints or hosts, use [Group.Transport].
func (b *Breaker) Transport(base http.RoundTripper) http.RoundTripper {
	return newTransport(b.core, base, func(*http.Request) *Breaker { return b })
}

func newTransport(c *core, base http.RoundTripper, of func(*http.Request) *Breaker) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{core: c, base: base, of: of}
}

type transport struct {
	core *core
	base http.RoundTripper
	of   func(*http.Request) *Breaker // nil where there is none
}

// Unwrap returns the round tripper below.
func (t *transport) Unwrap() http.RoundTripper { return t.base }

// Layer describes the breaker.
func (t *transport) Layer() uprung.Layer { return t.core.layer() }

// CloseIdleConnections does so at the base, for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

var errNoResponse = errors.New("breaker: the base returned neither a response nor an error")

// RoundTrip sends a request, or refuses it.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	o := &t.core.o
	if uprung.Mode(t.core.mode.Load()) == uprung.Off || o.Skip != nil && o.Skip(r) {
		return t.base.RoundTrip(r)
	}
	b := t.of(r)
	if b == nil {
		return t.base.RoundTrip(r)
	}
	p, err := b.allow(hurried(r.Context()), (*outgoing)(r))
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must close it, and the error that matters is err
		}
		return t.fallback(r, err)
	}
	returned := false
	defer func() {
		if !returned { // a panic, which goes on
			p.Done(uprung.Failure)
		}
	}()
	resp, err := t.base.RoundTrip(r)
	returned = true
	if err == nil && resp == nil {
		err = errNoResponse
	}
	if err != nil {
		outcome := b.classifyError(r.Context(), err, p.start)
		p.Done(outcome)
		if outcome == uprung.Failure {
			return t.fallback(r, err)
		}
		return nil, err
	}
	outcome := uprung.ResponseOutcome(resp.StatusCode, resp.Header)
	if p.b == nil || outcome != uprung.Success || resp.StatusCode == http.StatusSwitchingProtocols {
		// Nothing that the body does makes this any better, or is about HTTP.
		p.Done(outcome)
		return resp, nil
	}
	p.Answered()
	if resp.Body == nil || resp.Body == http.NoBody {
		p.Done(outcome)
		return resp, nil
	}
	e := &exchange{permit: p, ctx: r.Context(), whole: resp.ContentLength >= 0}
	// A body that is never closed leaves nothing behind, so that the end of the context
	// need not be watched.
	e.body.Observe(context.Background(), resp, e)
	return resp, nil
}

// fallback answers a request that has no answer.
func (t *transport) fallback(r *http.Request, err error) (*http.Response, error) {
	if t.core.o.Fallback == nil {
		return nil, err
	}
	resp, err := t.core.o.Fallback(r, err)
	if err == nil && resp == nil {
		err = errNoResponse
	}
	return resp, err
}

// exchange is a request whose response is being read.
type exchange struct {
	body   httpx.ObservedBody
	permit Permit
	ctx    context.Context //nolint:containedctx // of the request
	whole  bool            // the length of the body is known
}

// BodyEnded implements [httpx.BodyObserver].
func (e *exchange) BodyEnded(err error) {
	outcome := uprung.Success
	if err != nil {
		outcome = e.permit.b.classifyError(e.ctx, err, e.permit.start)
		if outcome == uprung.Failure && !e.whole && e.ctx.Err() != nil {
			outcome = uprung.Ignored // a stream that its reader left, after however long
		}
	}
	e.permit.Done(outcome)
}

// classifyError says what the error of a request means that was sent at start.
func (b *Breaker) classifyError(ctx context.Context, err error, start int64) uprung.Outcome {
	return b.errorOutcome(ctx, err, b.core.now()-start)
}

// outgoing is a request as what Percent goes by.
type outgoing http.Request

func (r *outgoing) percentKey(c *core) string {
	if c.o.Key == nil {
		return r.URL.Host
	}
	k, _ := c.o.Key((*http.Request)(r))
	return k
}
