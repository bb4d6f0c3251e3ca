package deadline

import (
	"context"
	"errors"
	"mime/multipart"
	"net/http"
	"runtime"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/key"
)

// Middleware gives each request to next a deadline: its context ends then, and if there
// is no response by that time, it is answered 504 as Options say. It is an
// [uprung.Middleware]. The package comment tells what becomes of a handler that goes on.
func (d *Deadline) Middleware(next http.Handler) http.Handler {
	h := &handler{deadline: d, next: next, key: d.o.Key}
	if h.key == nil {
		h.key = key.Direct(nil)
	}
	return h
}

type handler struct {
	deadline *Deadline
	next     http.Handler
	key      key.Func
}

// Unwrap returns the handler that has a deadline.
func (h *handler) Unwrap() http.Handler { return h.next }

// Layer describes the deadline.
func (h *handler) Layer() uprung.Layer { return h.deadline.Layer() }

// ServeHTTP serves a request in its time.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d := h.deadline
	mode := d.Mode()
	if mode == uprung.Off || d.o.Skip != nil && d.o.Skip(r) {
		h.next.ServeHTTP(w, r)
		return
	}
	now := time.Now()
	at := d.until(r.Context(), now, d.inbound(r))
	enforced := enforces(mode, r, h.key)
	switch enough := d.enough(at.Sub(now)); {
	case !enough && enforced:
		d.count.refused.Add(1)
		d.refuse(w, r, d.reject())
	case !enough:
		d.count.shadowRefused.Add(1)
		h.next.ServeHTTP(w, r)
	case enforced:
		h.serve(w, r, at)
	default:
		defer func() {
			if !time.Now().Before(at) {
				d.count.shadowExceeded.Add(1)
			} else {
				d.count.done.Add(1)
			}
		}()
		h.next.ServeHTTP(w, r)
	}
}

// inbound returns the time that a trusted request says it has.
func (d *Deadline) inbound(r *http.Request) time.Duration {
	if d.o.Trust == nil {
		return forever
	}
	values, ok := r.Header[d.o.Header]
	if !ok || !d.o.Trust(r) {
		return forever
	}
	left, ok := parse(values)
	if !ok {
		d.count.malformed.Add(1)
		return forever
	}
	return left
}

// enforces reports whether decisions about a request are acted upon.
func enforces(mode uprung.Mode, r *http.Request, keyOf key.Func) bool {
	if mode == uprung.Enforce || mode == uprung.Shadow {
		return mode == uprung.Enforce
	}
	k, _ := keyOf(r)
	return mode.Enforces(k)
}

// serve runs the next handler until a deadline.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, at time.Time) {
	d := h.deadline
	ctx, cancel := context.WithDeadlineCause(r.Context(), at, ErrExceeded)
	defer cancel()
	s := &serving{deadline: d, guard: httpx.NewGuard(w, r, at), form: r.MultipartForm, done: make(chan struct{})}
	in := r.WithContext(ctx)
	in.Body = s.guard.Body()
	go s.run(h.next, in)

	if !s.wait(ctx, at) || !s.ended {
		d.count.late.Add(1) // which its end takes back
		switch s.guard.Revoke() {
		case httpx.NotBegun:
			d.count.exceeded.Add(1)
			d.refuse(w, r, ErrExceeded)
			return
		case httpx.Begun:
			d.count.cut.Add(1)
			panic(http.ErrAbortHandler)
		case httpx.Hijacked, httpx.Ended:
			d.count.late.Add(-1)
			<-s.done
		}
	}
	d.count.done.Add(1)
	switch {
	case s.returned:
	case s.panicked != nil:
		panic(s.panicked)
	default:
		runtime.Goexit()
	}
}

// serving is a handler at work. When done is closed, its other fields say how it has
// ended.
type serving struct {
	deadline *Deadline
	guard    *httpx.Guard
	form     *multipart.Form // of the request, before it was copied
	ended    bool            // before its time was over
	returned bool
	panicked any // nil after runtime.Goexit
	done     chan struct{}
}

// run calls the handler.
func (s *serving) run(next http.Handler, r *http.Request) {
	defer close(s.done)
	defer func() {
		if !s.returned {
			s.panicked = recover()
		}
		if r.MultipartForm != nil && r.MultipartForm != s.form {
			// net/http removes the files of its own request, and not those of the copy.
			_ = r.MultipartForm.RemoveAll()
		}
		if s.ended = s.guard.End(s.returned); s.ended {
			return
		}
		s.deadline.count.late.Add(-1)
		if err, _ := s.panicked.(error); s.panicked != nil && !errors.Is(err, http.ErrAbortHandler) {
			s.deadline.count.latePanics.Add(1)
		}
	}()
	next.ServeHTTP(s.guard.Writer(), r)
	s.returned = true
}

// wait waits for the end of the handler, and returns false if that comes too late.
func (s *serving) wait(ctx context.Context, at time.Time) bool {
	select {
	case <-s.done:
		return true
	case <-ctx.Done():
	}
	if left := time.Until(at); left > 0 {
		// The client has left. The handler is told, and may have something to finish.
		timer := time.NewTimer(left)
		defer timer.Stop()
		select {
		case <-s.done:
			return true
		case <-timer.C:
		}
	}
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// refuse answers a request that gets no answer of its handler.
func (d *Deadline) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if d.o.Refused != nil {
		d.o.Refused(w, r, err)
		return
	}
	d.Refuse(w, r, err)
}

// Refuse answers a request with 504 and the problem document (RFC 9457) that is
// Middleware's by default, which tells a request that came too late from one that took
// too long.
func (d *Deadline) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, ErrExpired) {
		d.expired.Write(w, r, 0)
		return
	}
	d.overdue.Write(w, r, 0)
}
