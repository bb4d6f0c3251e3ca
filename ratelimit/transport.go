package ratelimit

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/uprung/uprung"
)

// maxPause bounds how long a server's Retry-After can hold back a key.
const maxPause = 24 * time.Hour

// maxHeld is how many keys of a transport can be held back at a time. A key is a
// host, as a rule; when there are more, those held for the shortest are released.
const maxHeld = 1024

// Transport paces the requests that go out through base: each waits until the
// limit of its key grants it, in the order of arrival and under its own context.
// The key is that of Options.Key or, if that is nil, the host of the URL. A nil
// base means [http.DefaultTransport].
//
// A response of 429 or 503 with Retry-After, in seconds or as a date, holds back
// all requests with the same key until then, for at most 24 hours, also those that
// are waiting already; afterwards they are paced again. Up to 1024 keys can be
// held at a time. The response itself is returned as it is: to repeat the request
// is another layer's job.
//
// A request that cannot be granted before its context's deadline, or never, is
// refused at once with a [*uprung.Rejection]; one without a key, under
// [key.MissingRefused], with [ErrMissingKey]. Its body is closed then, and base
// not asked. Options.Headers, Refused and Count have no meaning here.
func (l *Limiter) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{limiter: l, base: base, held: newTable(maxHeld)}
}

type transport struct {
	limiter *Limiter
	base    http.RoundTripper
	held    table // until when a server's Retry-After holds back a key, as an instant in ticks
}

// Unwrap returns the round tripper whose requests are paced.
func (t *transport) Unwrap() http.RoundTripper { return t.base }

// CloseIdleConnections does so at the base, for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// Layer describes the limiter.
func (t *transport) Layer() uprung.Layer {
	l := t.limiter
	return l.layer(l.face.outgoingKey, l.face.outgoing)
}

// RoundTrip waits for its turn and passes the request on.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	l := t.limiter
	var c call
	applies, err := l.prepare(&c, r, l.face.outgoingKey)
	if applies && err == nil {
		err = t.wait(r.Context(), &c)
	}
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must close it, and the error that matters is err
		}
		return nil, err
	}
	resp, err := t.base.RoundTrip(r)
	if err == nil && applies && uprung.ResponseOutcome(resp.StatusCode, resp.Header) == uprung.Overload {
		if pause := retryAfter(resp.Header.Get(retryField), time.Now()); pause > 0 {
			now := l.now()
			t.held.raise(c.hash, now+ticksOf(pause), now)
		}
	}
	return resp, err
}

// wait waits until neither the limit nor the server holds back c.
func (t *transport) wait(ctx context.Context, c *call) error {
	for {
		if err := t.waitWhileHeld(ctx, c); err != nil {
			return err
		}
		if err := t.limiter.wait(ctx, c); err != nil {
			return err
		}
		if t.pause(c) == 0 {
			return nil
		}
		t.limiter.undo(c) // its turn has come while it is held: it queues up again
	}
}

// pause returns the ticks for which c is held back.
func (t *transport) pause(c *call) int64 {
	if !t.limiter.load().mode.Enforces(c.key) {
		return 0
	}
	if until, now := t.held.stateOf(c.hash), t.limiter.now(); until > now {
		return until - now
	}
	return 0
}

func (t *transport) waitWhileHeld(ctx context.Context, c *call) error {
	for {
		pause := t.pause(c)
		if pause == 0 {
			return nil
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < nanos(pause) {
			return &uprung.Rejection{Kind: uprung.KindRateLimit, Name: t.limiter.name, Reason: ErrLimited, RetryAfter: nanos(pause)}
		}
		if err := sleep(ctx, nanos(pause)); err != nil {
			return err
		}
	}
}

// hostKey is the key of an outgoing request by default.
func hostKey(r *http.Request) (string, bool) { return r.URL.Host, r.URL.Host != "" }

// retryAfter reads the field of that name (RFC 9110, section 10.2.3): seconds or
// a date. It returns zero for what is neither.
func retryAfter(field string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(field, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) {
		return min(time.Duration(seconds)*time.Second, maxPause)
	}
	if date, err := http.ParseTime(field); err == nil {
		return min(max(date.Sub(now), 0), maxPause)
	}
	return 0
}
