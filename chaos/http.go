package chaos

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/splitmix"
)

// Middleware injects faults into requests to next: innermost of a chain, so that all
// before it meets them. It is an [uprung.Middleware].
func (i *Injector) Middleware(next http.Handler) http.Handler {
	return &handler{injector: i, next: next}
}

type handler struct {
	injector *Injector
	next     http.Handler
}

// Unwrap returns the handler into whose requests faults are injected.
func (h *handler) Unwrap() http.Handler { return h.next }

// Layer describes the injector.
func (h *handler) Layer() uprung.Layer { return h.injector.Layer() }

// ServeHTTP serves a request, with a fault or without.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, ok := h.injector.Next(Call{Context: r.Context(), Request: r, Method: r.Method})
	if !ok {
		h.next.ServeHTTP(w, r)
		return
	}
	defer n.End()
	goOn, err := n.Hold(r.Context())
	switch {
	case err != nil && errors.Is(r.Context().Err(), context.DeadlineExceeded):
		goOn = false // somebody else answers that time is over
	case err != nil:
		panic(http.ErrAbortHandler) // nobody waits for an answer
	}
	if !goOn {
		h.next.ServeHTTP(w, r)
		return
	}
	w.Header().Set(MarkField, n.Fault.Name)
	switch f := &n.Fault; {
	case f.Status != 0:
		n.page.Write(w, r, f.RetryAfter)
	case f.Reset:
		reset(w)
	case f.Err != nil:
		panic(http.ErrAbortHandler)
	case f.Body != (Body{}):
		d := &damaged{ResponseWriter: w, damage: newDamage(r.Context(), n)}
		h.next.ServeHTTP(d, r)
		if d.cut.Load() {
			panic(http.ErrAbortHandler)
		}
	default:
		h.next.ServeHTTP(w, r)
	}
}

// reset breaks the connection of a client: by a reset where it can be had, and else by
// what net/http does to a response that is aborted. It panics in either case, so that all
// before it see a response that was aborted.
func reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if over, ok := conn.(interface{ NetConn() net.Conn }); ok {
			conn = over.NetConn() // below TLS, which would say goodbye
		}
		if linger, ok := conn.(interface{ SetLinger(sec int) error }); ok {
			_ = linger.SetLinger(0) // without it the connection is closed in order, which is no less broken
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// damage is what is done to a body.
type damage struct {
	ctx      context.Context //nolint:containedctx // of the request that the body belongs to
	n        Injection
	next     time.Time // when the next bytes may pass
	passed   int64     // bytes
	truncate int64     // bytes that are left to pass; negative if all are
}

func newDamage(ctx context.Context, n Injection) *damage {
	d := &damage{ctx: ctx, n: n, truncate: -1}
	switch b := n.Fault.Body; {
	case b.Truncate > 0:
		d.truncate = b.Truncate
	case b.Truncate < 0:
		d.truncate = 0
	}
	return d
}

// tick is how much of a slow body passes at a time.
const tick = 50 * time.Millisecond

// part returns how many of n bytes pass now, after it has waited until they may. It
// returns an error if the body ends here, or the context does.
func (d *damage) part(n int) (int, error) {
	if !d.n.on() {
		return n, nil // disarmed: what is left is whole
	}
	if d.truncate == 0 {
		return 0, &Error{Fault: d.n.Fault.Name, Err: io.ErrUnexpectedEOF}
	}
	if d.truncate > 0 {
		n = int(min(int64(n), d.truncate))
	}
	if rate := d.n.Fault.Body.Rate; rate > 0 {
		n = min(n, max(1, int(float64(rate)*tick.Seconds())))
		if now := time.Now(); d.next.Before(now) {
			d.next = now // what did not pass in time is not made up for
		}
		d.next = d.next.Add(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
		timer := time.NewTimer(time.Until(d.next))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-d.n.armed.done:
		case <-d.ctx.Done():
			return 0, why(d.ctx)
		}
	}
	return n, nil
}

// pass counts bytes that have passed, and damages some.
func (d *damage) pass(p []byte) {
	if every := d.n.Fault.Body.Corrupt; every > 0 && d.n.on() {
		for at := range p {
			if splitmix.Mix(d.n.random+uint64(d.passed+int64(at)))%uint64(every) == 0 {
				p[at] ^= 0x55
			}
		}
	}
	d.passed += int64(len(p))
	if d.truncate > 0 {
		d.truncate -= int64(len(p))
	}
}

// damaged is a response writer whose body is.
type damaged struct {
	http.ResponseWriter
	damage *damage
	cut    atomic.Bool
}

// Unwrap is for [http.ResponseController].
func (w *damaged) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements [io.Writer]. A body that is cut off aborts the response, once its
// handler has returned.
func (w *damaged) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return w.ResponseWriter.Write(p)
	}
	written := 0
	for written < len(p) {
		n, err := w.damage.part(len(p) - written)
		if errors.Is(err, ErrInjected) {
			_ = http.NewResponseController(w.ResponseWriter).Flush() // what has passed arrives
			w.cut.Store(true)
			return written, err
		}
		if err != nil {
			return written, err
		}
		part := p[written : written+n]
		if w.damage.n.Fault.Body.Corrupt > 0 {
			part = append([]byte(nil), part...) // a writer must not change what it is given
		}
		w.damage.pass(part)
		n, err = w.ResponseWriter.Write(part)
		written += n
		if err != nil {
			return written, err
		}
		if w.damage.n.Fault.Body.Rate > 0 {
			_ = http.NewResponseController(w.ResponseWriter).Flush() // a slow body comes in parts
		}
	}
	return written, nil
}

// Flush implements [http.Flusher].
func (w *damaged) Flush() { _ = w.FlushError() }

// FlushError is what [http.ResponseController] calls.
func (w *damaged) FlushError() error { return http.NewResponseController(w.ResponseWriter).Flush() }

// Hijack implements [http.Hijacker]. What is sent then is not damaged.
func (w *damaged) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
