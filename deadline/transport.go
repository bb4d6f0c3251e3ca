package deadline

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/key"
)

// Transport bounds the requests that go out through base: from the call until the body
// of the response has been read to its end or closed. What is left is passed on in a
// header. A nil base means [http.DefaultTransport]. Put it outside of retries, so that
// it bounds all attempts together.
//
// A request that has too little time left is refused at once with a
// [*uprung.Rejection] that matches [context.DeadlineExceeded]; its body is closed then,
// and base not asked. When the time is over later, base ends the exchange as it does for
// any context, with an error that matches the same. Errors of base are returned as they
// are. Options.Trust and Refused have no meaning here.
func (d *Deadline) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	t := &transport{deadline: d, base: base, key: d.o.Key}
	if t.key == nil {
		t.key = host
	}
	return t
}

type transport struct {
	deadline *Deadline
	base     http.RoundTripper
	key      key.Func
}

// Unwrap returns the round tripper below.
func (t *transport) Unwrap() http.RoundTripper { return t.base }

// Layer describes the deadline.
func (t *transport) Layer() uprung.Layer { return t.deadline.layer(t.deadline.outgoing) }

// CloseIdleConnections does so at the base, for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// host is the default of Options.Key for requests that go out.
func host(r *http.Request) (string, bool) { return r.URL.Host, r.URL.Host != "" }

// RoundTrip sends a request with its deadline.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	d := t.deadline
	mode := d.Mode()
	if mode == uprung.Off || d.o.Skip != nil && d.o.Skip(r) {
		return t.base.RoundTrip(r)
	}
	now := time.Now()
	e := &exchange{deadline: d, at: d.until(r.Context(), now, forever)}
	left := e.at.Sub(now)
	left -= d.margin(left)
	// Of less than a millisecond, zero would be passed on.
	enough := d.enough(left) && left >= time.Millisecond
	if !enforces(mode, r, t.key) {
		if !enough {
			d.count.shadowRefused.Add(1)
			return t.base.RoundTrip(r)
		}
		return e.send(t.base, r)
	}
	if !enough {
		d.count.refused.Add(1)
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must close it, and the error that matters is the refusal
		}
		return nil, d.reject()
	}
	ctx, cancel := context.WithDeadlineCause(r.Context(), e.at, ErrExceeded)
	e.cancel = cancel
	out := r.WithContext(ctx)
	if out.Header = r.Header.Clone(); out.Header == nil {
		out.Header = http.Header{}
	}
	out.Header[d.o.Header] = []string{format(left)}
	return e.send(t.base, out)
}

// exchange is a request on its way out, and its response until the body has ended.
type exchange struct {
	deadline *Deadline
	at       time.Time
	cancel   context.CancelFunc // nil where the deadline is not enforced
	answered bool
	upgraded bool
}

// send makes the exchange.
func (e *exchange) send(base http.RoundTripper, r *http.Request) (*http.Response, error) {
	returned := false
	defer func() {
		if !returned { // a panic, which goes on
			e.end(nil)
		}
	}()
	resp, err := base.RoundTrip(r)
	returned = true
	if err != nil {
		e.end(err)
		return nil, err
	}
	e.answered, e.upgraded = true, resp.StatusCode == http.StatusSwitchingProtocols
	httpx.ObserveBody(r.Context(), resp, e)
	return resp, nil
}

// BodyEnded ends the exchange.
func (e *exchange) BodyEnded(err error) { e.end(err) }

// end counts the exchange and releases its context.
func (e *exchange) end(err error) {
	c := &e.deadline.count
	switch late := !e.upgraded && !time.Now().Before(e.at); {
	case late && e.cancel == nil:
		c.shadowExceeded.Add(1)
	case !late, err == nil, errors.Is(err, context.Canceled):
		c.done.Add(1)
	case e.answered:
		c.cut.Add(1)
	default:
		c.exceeded.Add(1)
	}
	if e.cancel != nil {
		e.cancel()
	}
}
