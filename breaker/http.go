package breaker

import (
	"errors"
	"net/http"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/key"
)

// Middleware stops requests to next while it fails: they are refused with 503 and
// Retry-After, as Options say. A response of 5xx is a failure, and so is a panic, which
// goes on; 503 with Retry-After and 429 do not count, nor what ends because the client
// has left. It is an [uprung.Middleware].
//
// How long a handler takes up to the headers is what may be slow. A connection that is
// taken over counts as a success then.
func (b *Breaker) Middleware(next http.Handler) http.Handler {
	return &handler{core: b.core, next: next, of: func(*http.Request) *Breaker { return b }}
}

type handler struct {
	core *core
	next http.Handler
	of   func(*http.Request) *Breaker // nil where there is none
}

// Unwrap returns the handler that is guarded.
func (h *handler) Unwrap() http.Handler { return h.next }

// Layer describes the breaker.
func (h *handler) Layer() uprung.Layer { return h.core.layer() }

// ServeHTTP serves a request, or refuses it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o := &h.core.o
	if uprung.Mode(h.core.mode.Load()) == uprung.Off || o.Skip != nil && o.Skip(r) {
		h.next.ServeHTTP(w, r)
		return
	}
	b := h.of(r)
	if b == nil {
		h.next.ServeHTTP(w, r)
		return
	}
	p, err := b.allow(hurried(r.Context()), (*incoming)(r))
	if err != nil {
		if o.Refused != nil {
			o.Refused(w, r, err)
		} else {
			h.core.refuse(w, r, err)
		}
		return
	}
	start := h.core.now()
	httpx.Serve(h.next, w, r,
		func(int) { p.Answered() },
		func(resp httpx.Response) { p.Done(h.core.served(r, w.Header(), resp, start)) })
}

// served says what a response means that a handler has made.
func (c *core) served(r *http.Request, header http.Header, resp httpx.Response, start int64) uprung.Outcome {
	outcome := uprung.ResponseOutcome(resp.Status, header)
	if outcome == uprung.Overload {
		return outcome
	}
	if ended := r.Context().Err(); ended != nil {
		// Whatever the handler has done, it was because of this, or nobody has seen it.
		return uprung.ErrorOutcome(r.Context(), ended, time.Duration(c.now()-start), c.o.Patience)
	}
	if resp.Aborted {
		return uprung.Failure
	}
	return outcome
}

// Refuse answers a request with 503, Retry-After and the problem document (RFC 9457)
// that are Middleware's by default.
func (b *Breaker) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	b.core.refuse(w, r, err)
}

func (c *core) refuse(w http.ResponseWriter, r *http.Request, err error) {
	after := c.o.OpenFor
	if rejection, ok := errors.AsType[*uprung.Rejection](err); ok && rejection.RetryAfter > 0 {
		after = rejection.RetryAfter
	}
	c.problem.Write(w, r, after)
}

// incoming is a request as what Percent goes by.
type incoming http.Request

func (r *incoming) percentKey(c *core) string {
	keyOf := c.o.Key
	if keyOf == nil {
		keyOf = key.Direct(nil)
	}
	k, _ := keyOf((*http.Request)(r))
	return k
}
