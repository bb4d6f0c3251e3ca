package ratelimit

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/uprung/uprung"
)

// maxPause bounds how long a server's Retry-After can hold back a key.
const maxPause = 24 * time.Hour

// Transport paces the requests that go out through base: each waits until the
// limit of its key grants it, in the order of arrival and under its own context.
// The key is that of Options.Key or, if that is nil, the host of the URL. A nil
// base means [http.DefaultTransport].
//
// A response of 429 or 503 with Retry-After, in seconds or as a date, holds back
// the requests that follow with the same key until then, for at most 24 hours.
// The response itself is returned as it is: to repeat the request is another
// layer's job.
//
// A request that cannot be granted before its context's deadline, or never, is
// refused at once with a [*uprung.Rejection]; one without a key, under
// [key.MissingRefused], with [ErrMissingKey]. Its body is closed then, and base
// not asked. Options.Headers, Refused and Count have no meaning here.
func (l *Limiter) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{limiter: l, base: base}
}

type transport struct {
	limiter *Limiter
	base    http.RoundTripper
}

// Unwrap returns the round tripper whose requests are paced.
func (t *transport) Unwrap() http.RoundTripper { return t.base }

// Layer describes the limiter.
func (t *transport) Layer() uprung.Layer { return t.limiter.Layer() }

// RoundTrip waits for its turn and passes the request on.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	l := t.limiter
	var c call
	applies, err := l.prepare(&c, r, l.face.outgoingKey)
	if applies && err == nil {
		err = l.wait(r.Context(), &c)
	}
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must close it, and the error that matters is err
		}
		return nil, fmt.Errorf("ratelimit: %s request: %w", r.Method, err)
	}
	resp, err := t.base.RoundTrip(r)
	if err == nil && applies && uprung.ResponseOutcome(resp.StatusCode, resp.Header) == uprung.Overload {
		if pause := retryAfter(resp.Header.Get("Retry-After"), time.Now()); pause > 0 {
			l.hold(&c, pause)
		}
	}
	return resp, err
}

// hostKey is the key of an outgoing request by default.
func hostKey(r *http.Request) (string, bool) { return r.URL.Host, r.URL.Host != "" }

// retryAfter reads the field of that name (RFC 9110, section 10.2.3): seconds or
// a date. It returns zero for what is neither.
func retryAfter(field string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(field, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxPause)
	}
	if date, err := http.ParseTime(field); err == nil {
		return min(max(date.Sub(now), 0), maxPause)
	}
	return 0
}

// hold takes so much from the key of c that it gets no event for the time given.
func (l *Limiter) hold(c *call, pause time.Duration) {
	if !l.load().mode.Enforces(c.key) {
		return
	}
	// The limit was valid when the request was granted. If LimitFor has changed its
	// mind for the worse, the next request fails anyway.
	_ = l.settle(&call{hash: c.hash, key: c.key, keyless: c.keyless, now: l.now(), hold: ticksOf(pause)})
}
