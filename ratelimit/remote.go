package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/key"
)

// Backend decides on requests in place of a [Limiter] or a [Group]: one that keeps
// its limits elsewhere, as package redislimit does. Its methods are called
// concurrently.
type Backend interface {
	// Policies are the names of the limits that a decision is about, one to eight, as
	// in Options.Name. They do not change.
	Policies() []string
	// Decide takes what is asked for, from all limits or none. An error that is a
	// [*uprung.Rejection] with the reason [ErrUnavailable] is answered 503.
	Decide(ctx context.Context, ask Ask) (Verdict, error)
	// Mode is what is done with decisions; a Backend applies it itself.
	Mode() uprung.Mode
	// Settings describe the limits.
	Settings() []uprung.Setting
}

// Ask is what a [Backend] is asked for: N events for Key or, if Keyless, for the
// party of all requests that have none.
type Ask struct {
	Key     string
	Keyless bool
	N       int64
}

// Verdict is the answer of a [Backend].
type Verdict struct {
	// Decisions has one for each policy, in their order.
	Decisions []Decision
	// Undo gives back what was granted, some time ago, as far as time has not refilled
	// it already. Nobody waits for its success. Nil means that there is nothing to give.
	Undo func(ctx context.Context, ago time.Duration)
}

// Decision is the answer of one limit of a [Backend].
type Decision struct {
	// Limit is what holds for the key.
	Limit Limit
	// Result is how it turned out.
	Result Result
}

// Face is the HTTP side of a [Backend]: the middleware and the transport that a [Limiter]
// has itself.
// It is safe for concurrent use. Use NewFace.
type Face struct {
	backend Backend
	faces   []face // one for each policy; the first finds the key
	keyless atomic.Uint64
}

// NewFace returns the HTTP side of a backend. Of the options it heeds those about
// requests and responses: Key, MissingKey, Cost, Headers, Count, Facts, Refused and
// Skip. Nil options are the defaults. The error names every field that is out of range.
func NewFace(b Backend, o *Options) (*Face, error) {
	if b == nil {
		return nil, errors.New("ratelimit: Backend is nil")
	}
	if o == nil {
		o = &Options{}
	}
	names := b.Policies()
	if len(names) < 1 || len(names) > maxGroup {
		return nil, fmt.Errorf("ratelimit: Backend has %d policies, want 1 to %d", len(names), maxGroup)
	}
	f := &Face{backend: b}
	var errs []error
	for i, name := range names {
		named := *o
		named.Name = name
		one, err := newFace(&named)
		if i == 0 || len(err) > 0 && len(errs) == 0 {
			errs = append(errs, err...) // the others say the same
		}
		f.faces = append(f.faces, one)
	}
	if len(errs) > 0 {
		return nil, prefixed(errors.Join(errs...))
	}
	return f, nil
}

// Middleware limits the requests to next, as [Limiter.Middleware] does.
func (f *Face) Middleware(next http.Handler) http.Handler {
	return &remoteHandler{face: f, next: next}
}

type remoteHandler struct {
	face *Face
	next http.Handler
}

// Unwrap returns the handler that is limited.
func (h *remoteHandler) Unwrap() http.Handler { return h.next }

// Layer describes the backend.
func (h *remoteHandler) Layer() uprung.Layer { return h.face.Layer() }

// ServeHTTP has a request decided on, and passes it on or refuses it.
func (h *remoteHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := h.face
	var c call
	applies, err := f.faces[0].prepare(&c, r, f.faces[0].key, f.backend.Mode())
	if !applies {
		if err != nil {
			f.keyless.Add(1)
			f.faces[0].refuse(w, r, err)
			return
		}
		h.next.ServeHTTP(w, r)
		return
	}
	ask := Ask{Key: c.key, Keyless: c.keyless, N: c.n}
	counts := f.faces[0].counts
	var began time.Time
	if counts != nil {
		began = time.Now()
	}
	verdict, err := f.backend.Decide(r.Context(), ask)
	if err != nil {
		f.faces[0].refuse(w, r, err)
		return
	}
	if by, rejection := f.announce(w.Header(), ask, verdict.Decisions); rejection != nil {
		by.refuse(w, r, rejection)
		return
	}
	if counts == nil || verdict.Undo == nil {
		h.next.ServeHTTP(w, r)
		return
	}
	httpx.Serve(h.next, w, r, nil, func(response httpx.Response) {
		if !response.Aborted && !counts(response.Status) {
			// The client may have left, which is no reason to charge it.
			verdict.Undo(context.WithoutCancel(r.Context()), time.Since(began))
		}
	})
}

// announce writes the fields of all policies. If the request was denied, it returns
// the one to wait for and its rejection.
func (f *Face) announce(h http.Header, ask Ask, decisions []Decision) (by *face, rejection *uprung.Rejection) {
	if f.faces[0].headers != HeadersNone && f.backend.Mode().Enforces(ask.Key) {
		for i := range min(len(decisions), len(f.faces)) {
			one, d := &f.faces[i], &decisions[i]
			if d.Limit.unlimited() {
				continue
			}
			if b, err := d.Limit.compile(); err == nil {
				one.writeFields(h, policyOf(one.quotedName, &b), &d.Result)
			}
		}
	}
	if by, rejection = f.denied(ask, decisions); by != nil {
		setRetryAfter(h, rejection)
	}
	return by, rejection
}

// denied returns the policy that denies for the longest and its rejection, if one does.
func (f *Face) denied(ask Ask, decisions []Decision) (by *face, rejection *uprung.Rejection) {
	for i := range min(len(decisions), len(f.faces)) {
		d := &decisions[i]
		if wait := d.Result.RetryAfter; !d.Result.Allowed && (by == nil ||
			rejection.RetryAfter >= 0 && (wait < 0 || wait > rejection.RetryAfter)) {
			by, rejection = &f.faces[i], d.rejection(f.faces[i].name, ask.N)
		}
	}
	return by, rejection
}

// rejection is the error of a decision that denies n events.
func (d *Decision) rejection(policy string, n int64) *uprung.Rejection {
	r := &uprung.Rejection{Kind: uprung.KindRateLimit, Name: policy, Reason: ErrLimited, RetryAfter: d.Result.RetryAfter}
	if burst := d.Limit.burst(); burst > 0 && n > burst {
		r.Reason, r.RetryAfter = ErrExceedsBurst, uprung.Never
	}
	return r
}

// Refuse answers a request with the status and the problem document (RFC 9457) that
// are Middleware's by default: those of [Limiter.Refuse], and 503 for [ErrUnavailable].
func (f *Face) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	by := &f.faces[0]
	if rejection, ok := errors.AsType[*uprung.Rejection](err); ok {
		for i := range f.faces {
			if f.faces[i].name == rejection.Name {
				by = &f.faces[i]
			}
		}
	}
	by.answer(w, r, err)
}

// Keyless is how many requests were refused because they had no key.
func (f *Face) Keyless() uint64 { return f.keyless.Load() }

// Layer describes the backend and the settings of its HTTP side.
func (f *Face) Layer() uprung.Layer {
	return f.layer(f.faces[0].key, f.faces[0].settings)
}

// layer describes one of the faces.
func (f *Face) layer(keyOf key.Func, settings []uprung.Setting) uprung.Layer {
	layer := uprung.Layer{
		Kind: uprung.KindRateLimit, Name: strings.Join(f.backend.Policies(), "+"),
		Facts: f.faces[0].factsOf(keyOf), Settings: f.backend.Settings(),
	}
	for _, setting := range settings {
		switch setting.Name {
		case "Algorithm", "Capacity", "LimitFor": // the backend's business
		default:
			layer.Settings = append(layer.Settings, setting)
		}
	}
	return layer
}
