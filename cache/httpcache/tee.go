package httpcache

import (
	"bytes"
	"cmp"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/uprung/uprung/internal/httpx"
)

// tee is what a handler writes to. Once the header is here, the response is passed on as
// it comes, or passed on and kept, or swallowed for one from the cache.
type tee struct {
	x    *exchange
	w    http.ResponseWriter
	own  http.Header // what the handler sees
	sent http.Header // what it was when a status was written

	state       teeState
	disposition disposition
	pending     int          // status that waits for the first bytes, which tell the Content-Type
	rest        bytes.Buffer // of a response of which a part is stored
	leader      *logReader
	copied      chan struct{} // closed when the client has all, or has left
}

func newTee(x *exchange, w http.ResponseWriter) *tee {
	if x.outer == nil {
		x.outer = w.Header().Clone()
	}
	own := x.outer.Clone()
	if own == nil {
		own = make(http.Header)
	}
	return &tee{x: x, w: w, own: own}
}

type teeState uint8

const (
	undecided teeState = iota
	passing
	keeping
	swallowing
	completing
)

// view returns the writer with the optional methods of the one below.
func (t *tee) view() http.ResponseWriter {
	_, flushes := t.w.(http.Flusher)
	_, reads := t.w.(io.ReaderFrom)
	switch {
	case flushes && reads:
		return teeFR{teeF{t}}
	case flushes:
		return teeF{t}
	}
	return t
}

type teeF struct{ *tee }

func (t teeF) Flush() { _ = t.FlushError() }

type teeFR struct{ teeF }

// ReadFrom implements [io.ReaderFrom].
func (t teeFR) ReadFrom(src io.Reader) (int64, error) {
	if t.state == passing {
		return t.w.(io.ReaderFrom).ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{t.tee}, src)
}

func (t *tee) Unwrap() http.ResponseWriter { return t.w }

func (t *tee) Header() http.Header { return t.own }

// publish makes a header that of w.
func (t *tee) publish(header http.Header) {
	h := t.w.Header()
	clear(h)
	maps.Copy(h, header)
}

// WriteHeader decides.
func (t *tee) WriteHeader(code int) {
	switch {
	case code >= 100 && code < 200 && code != http.StatusSwitchingProtocols:
		if t.state == undecided {
			t.publish(t.own)
			t.w.WriteHeader(code)
		}
	case t.state == passing:
		t.w.WriteHeader(code) // which net/http complains about
	case t.state != undecided || t.pending != 0:
	default:
		t.sent = t.own.Clone()
		if t.untyped() && code >= 200 && code != http.StatusNoContent && code != http.StatusNotModified {
			t.pending = code
		} else {
			t.decide(code)
		}
	}
}

// untyped reports whether the type of the body is to be told by its first bytes, as
// net/http does it.
func (t *tee) untyped() bool {
	return t.sent["Content-Type"] == nil && len(t.sent["Content-Encoding"]) == 0
}

// settle decides about a header that waits for the bytes of a body.
func (t *tee) settle(p []byte) {
	if t.state != undecided {
		return
	}
	if t.sent == nil {
		t.sent = t.own.Clone()
	}
	if len(p) > 0 && t.untyped() {
		t.sent["Content-Type"] = []string{http.DetectContentType(p)}
	}
	t.decide(cmp.Or(t.pending, http.StatusOK))
}

func (t *tee) decide(code int) {
	x, f, h := t.x, t.x.flight, t.sent
	now := time.Now()
	if x.in.Method == http.MethodPost {
		x.c.invalidate(x.in, "", code, h, x)
	}
	d := x.headers(code, h, now)
	t.disposition = d
	switch {
	case d.use || d.again:
		t.state = swallowing
		return
	case d.rest:
		t.state = completing
		return
	}
	keeps := d.keep && f != nil
	if keeps {
		x.decided(d.entry, now)
		if h["Date"] == nil {
			h["Date"] = d.entry.header["Date"]
		}
	} else {
		x.decided(nil, now)
	}
	if !x.shadow {
		h[cacheStatus] = d.lines
		x.c.withheldFrom(h)
	}
	t.publish(h)
	t.w.WriteHeader(code)
	if !keeps {
		t.state = passing
		return
	}
	t.state = keeping
	t.leader = f.reader(true)
	t.copied = make(chan struct{})
	go func() {
		err := t.leader.copyTo(x.in.Context(), t.w, 0)
		t.leader.leave(err)
		close(t.copied)
	}()
}

// Write passes bytes on, or keeps them for the one that does.
func (t *tee) Write(p []byte) (int, error) {
	t.settle(p)
	switch t.state {
	case keeping:
		if code := t.disposition.entry.status; code == http.StatusNoContent || code == http.StatusNotModified {
			return 0, http.ErrBodyNotAllowed
		}
		if err := t.x.flight.write(t.x.out.Context(), p); err != nil {
			return 0, err
		}
		return len(p), nil
	case passing:
		return t.w.Write(p)
	case completing:
		if int64(t.rest.Len()) <= t.disposition.entry.part.size() {
			t.rest.Write(p)
		}
	}
	return len(p), nil
}

// FlushError is what [http.ResponseController] calls.
func (t *tee) FlushError() error {
	t.settle(nil)
	switch t.state {
	case keeping:
		f := t.x.flight
		f.mu.Lock()
		f.flushed = f.end + 1
		f.changed()
		f.mu.Unlock()
		return nil
	case passing:
		return http.NewResponseController(t.w).Flush()
	}
	return nil
}

// ended ends a response whose handler has returned.
func (t *tee) ended(resp httpx.Response) {
	if resp.Hijacked {
		if f := t.x.flight; f != nil {
			f.decide(nil)
		}
		return
	}
	if t.state == undecided {
		t.settle(nil)
	}
	switch t.state {
	case completing:
		d := &t.disposition
		d.entry = t.x.completed(d.entry, t.rest.Bytes(), nil)
		d.use, d.again = d.entry != nil, d.entry == nil
		return
	case keeping:
	default:
		t.trailers()
		return
	}
	f := t.x.flight
	t.x.commit(t.disposition.entry, f, nil) // before a client can know that it was all
	f.finish(nil)
	<-t.copied
	t.trailers()
}

// failed ends a response whose handler has not returned.
func (t *tee) failed() {
	f := t.x.flight
	if f != nil {
		f.finish(http.ErrAbortHandler)
	}
	if t.state == completing {
		t.x.abandon(t.disposition.entry, refusedIncomplete)
	}
	if t.state == keeping {
		<-t.copied
		t.x.commit(t.disposition.entry, f, http.ErrAbortHandler)
	}
}

// standIn reports whether a stored response may stand in for an origin that could not be
// reached, which is what [http.ErrAbortHandler] before a header says.
func (t *tee) standIn() bool {
	x := t.x
	return x.verdict.action == validate && !x.shadow && x.rules.staleOnErrorAllowed(x.verdict.entry, &x.wants, false, time.Now())
}

// useStale has it stand in.
func (t *tee) useStale() {
	e := t.x.verdict.entry
	t.x.c.count.stale.Add(1)
	s := status{name: t.x.c.o.Name, fwd: t.x.verdict.fwd, timed: true, ttl: int64(e.remaining(time.Now()) / time.Second)}
	t.disposition = disposition{entry: e, use: true, lines: s.lines(e.header[cacheStatus])}
}

// trailers passes on those that the handler has set.
func (t *tee) trailers() {
	h := t.w.Header()
	for name, values := range t.own {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			h[name] = values
		}
	}
	for one := range elements(h["Trailer"]) {
		name := http.CanonicalHeaderKey(one)
		if values, ok := t.own[name]; ok {
			h[name] = values
		}
	}
}
