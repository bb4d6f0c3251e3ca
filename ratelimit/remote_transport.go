package ratelimit

import (
	"context"
	"hash/maphash"
	"net/http"
	"time"

	"github.com/uprung/uprung"
)

// Transport paces the requests that go out through base, as [Limiter.Transport] does, but
// without an order among those who wait: whoever asks first when there is room again goes
// first. A server's Retry-After holds back the requests of this process alone.
func (f *Face) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &remoteTransport{face: f, base: base, seed: maphash.MakeSeed(), born: time.Now(), held: newTable(maxHeld)}
}

type remoteTransport struct {
	face *Face
	base http.RoundTripper
	seed maphash.Seed
	born time.Time
	held table // until when a server's Retry-After holds back a key, in nanoseconds
}

// Unwrap returns the round tripper whose requests are paced.
func (t *remoteTransport) Unwrap() http.RoundTripper { return t.base }

// CloseIdleConnections does so at the base, for [http.Client.CloseIdleConnections].
func (t *remoteTransport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// Layer describes the backend.
func (t *remoteTransport) Layer() uprung.Layer {
	first := &t.face.faces[0]
	return t.face.layer(first.outgoingKey, first.outgoing)
}

// RoundTrip waits for its turn and passes the request on.
func (t *remoteTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	f := t.face
	var c call
	applies, err := f.faces[0].prepare(&c, r, f.faces[0].outgoingKey, f.backend.Mode())
	if err != nil {
		f.keyless.Add(1)
	}
	if applies {
		c.hash = slotKey(maphash.String(t.seed, c.key))
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
			now := t.now()
			t.held.raise(c.hash, now+int64(pause), now)
		}
	}
	return resp, err
}

func (t *remoteTransport) now() int64 { return int64(time.Since(t.born)) + 1 }

// wait waits until neither the limits nor the server hold back c.
func (t *remoteTransport) wait(ctx context.Context, c *call) error {
	f := t.face
	for {
		rejection := t.holding(c)
		if rejection == nil {
			ask := Ask{Key: c.key, Keyless: c.keyless, N: c.n}
			verdict, err := f.backend.Decide(ctx, ask)
			if err != nil {
				return err
			}
			if _, rejection = f.denied(ask, verdict.Decisions); rejection == nil {
				return nil
			}
		}
		if rejection.RetryAfter < 0 {
			return rejection
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < rejection.RetryAfter {
			return rejection
		}
		if err := sleep(ctx, max(rejection.RetryAfter, time.Microsecond)); err != nil {
			return err
		}
	}
}

// holding returns the rejection of a request that a server's Retry-After holds back.
func (t *remoteTransport) holding(c *call) *uprung.Rejection {
	until, now := t.held.stateOf(c.hash), t.now()
	if until <= now || !t.face.backend.Mode().Enforces(c.key) {
		return nil
	}
	return &uprung.Rejection{
		Kind: uprung.KindRateLimit, Name: t.face.faces[0].name, Reason: ErrLimited, RetryAfter: time.Duration(until - now),
	}
}
