package httpcache

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
)

// Middleware answers requests to next from the cache, a shared one: what is stored for
// one client answers others. It is an [uprung.Middleware].
func (c *Cache) Middleware(next http.Handler) http.Handler { return &handler{c: c, next: next} }

type handler struct {
	c    *Cache
	next http.Handler
}

// Unwrap returns the handler whose responses are stored.
func (h *handler) Unwrap() http.Handler { return h.next }

// Layer describes the cache.
func (h *handler) Layer() uprung.Layer {
	l := h.c.Layer()
	if !l.Has(uprung.SharedByAll) {
		l.Facts = append(l.Facts, uprung.SharedByAll)
	}
	return l
}

// ServeHTTP answers a request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := h.c
	switch {
	case passable(r), safeMethod(r.Method) && c.bypasses(r):
		c.count.bypassed.Add(1)
		h.next.ServeHTTP(w, r)
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		if h.quickHit(w, r) {
			return
		}
		h.get(w, r)
	case safeMethod(r.Method):
		c.count.bypassed.Add(1)
		h.next.ServeHTTP(w, r)
	default:
		h.unsafe(w, r)
	}
}

// quickHit answers a request that asks for nothing special from a fresh response, without
// an allocation.
func (h *handler) quickHit(w http.ResponseWriter, r *http.Request) bool {
	c, now := h.c, time.Now()
	e := c.quick(r, "", now)
	if e == nil {
		return false
	}
	dst := w.Header()
	for at := range e.fields {
		dst[e.fields[at].name] = e.fields[at].values
	}
	aged := e.aged(now, c.o.Name)
	dst["Age"], dst[cacheStatus] = aged.age, aged.status
	w.WriteHeader(e.status)
	if r.Method == http.MethodGet {
		_ = e.body.writeRange(w, 0, e.body.length) // a client that has left needs no more
	}
	return true
}

// get answers a GET or a HEAD.
func (h *handler) get(w http.ResponseWriter, r *http.Request) {
	c, now := h.c, time.Now()
	x := c.begin(r, "", &c.rules, false, now)
	if x.shadow = !c.enforces(r); x.shadow {
		if x.verdict.action <= validate || x.verdict.action == unmet {
			c.count.misses.Add(1)
		} else {
			c.count.shadowHits.Add(1)
		}
		h.forward(w, x)
		return
	}
	switch x.verdict.action {
	case reuse, reuseOnce:
		c.count.hits.Add(1)
		if !x.verdict.entry.fresh(now) {
			c.count.stale.Add(1)
		}
		h.answer(w, x, x.verdict.entry, nil)
		if x.verdict.action == reuseOnce {
			c.revalidate(x, h.background)
		}
	case unmet:
		c.count.unmet.Add(1)
		if c.o.Refused != nil {
			c.o.Refused(w, r, ErrNotStored)
			return
		}
		c.unmet.Write(w, r, 0)
	case validate:
		c.count.validations.Add(1)
		h.forward(w, x)
	default:
		c.count.misses.Add(1)
		h.forward(w, x)
	}
}

// answer sends a stored response.
func (h *handler) answer(w http.ResponseWriter, x *exchange, e *Entry, lines []string) {
	e.touch()
	reply := h.c.prepare(w.Header(), x.in, e, time.Now(), lines)
	w.WriteHeader(reply.status)
	if x.in.Method != http.MethodHead && reply.status != http.StatusNotModified {
		_ = reply.write(w) // a client that has left needs no more
	}
}

// forward has the origin answer, or another request's fetch.
func (h *handler) forward(w http.ResponseWriter, x *exchange) {
	c, r := h.c, x.in
	if r.Method == http.MethodHead || x.wants.noStore {
		h.fetch(w, x)
		return
	}
	f, leads := c.flights.join(x, x.waits())
	if !leads {
		if h.follow(w, x, f) {
			return
		}
		x.alone = true
		f, _ = c.flights.join(x, false)
	}
	h.lead(w, x, f)
}

// lead has the origin answer, so that others may wait for it.
func (h *handler) lead(w http.ResponseWriter, x *exchange, f *flight) {
	x.flight = f
	defer h.c.flights.land(f)
	defer f.finish(http.ErrAbortHandler) // unless it has ended well
	h.fetch(w, x)
}

// follow answers a request by what another is fetching. It reports false if that is not
// for it.
func (h *handler) follow(w http.ResponseWriter, x *exchange, f *flight) bool {
	c := h.c
	e, err := f.await(x.in.Context(), c.o.Collapse.Wait)
	if err != nil {
		f.part()
		panic(http.ErrAbortHandler) // nobody waits for an answer
	}
	if !x.shareable(e, time.Now()) {
		f.part()
		return false
	}
	c.count.collapsed.Add(1)
	s := status{name: c.o.Name, fwd: x.verdict.fwd, collapsed: 1}
	if e.body != nil { // validated
		f.part()
		h.answer(w, x, e, s.lines(e.header[cacheStatus]))
		return true
	}
	from := f.reader(false)
	if from == nil {
		f.part()
		return false
	}
	defer from.close()
	now := time.Now()
	dst := w.Header()
	maps.Copy(dst, e.header)
	dst["Age"] = e.aged(now, c.o.Name).age
	dst[cacheStatus] = s.lines(e.header[cacheStatus])
	if e.unmodified(x.in, now) {
		e.withoutContent(dst)
		w.WriteHeader(http.StatusNotModified)
		return true
	}
	w.WriteHeader(e.status)
	if err := from.copyTo(x.in.Context(), w, c.o.FetchTimeout); err != nil {
		panic(http.ErrAbortHandler) // what was sent is not all
	}
	return true
}

// copyTo writes the log as it grows.
func (r *logReader) copyTo(ctx context.Context, w http.ResponseWriter, patience time.Duration) error {
	for {
		p, err := r.next(ctx, patience)
		switch {
		case errors.Is(err, errWhole):
			return nil
		case err != nil:
			return err
		case p == nil:
			_ = http.NewResponseController(w).Flush() // where it cannot be, it is not
			continue
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
	}
}

// fetch has the handler answer.
func (h *handler) fetch(w http.ResponseWriter, x *exchange) {
	c, f := h.c, x.flight
	ctx := x.in.Context()
	if f != nil {
		var release func()
		ctx, release = f.detach(ctx, c.o.FetchTimeout)
		defer release()
	}
	out := x.send(ctx)
	for {
		t := newTee(x, w)
		h.run(t, out)
		if t.disposition.again {
			out = x.sendAgain()
			continue
		}
		if t.disposition.use {
			t.publish(x.outer)
			if x.decided(t.disposition.entry, time.Now()); f != nil {
				f.finish(nil)
			}
			h.answer(w, x, t.disposition.entry, t.disposition.lines)
		}
		return
	}
}

// run calls the handler with a writer that decides what becomes of the response.
func (h *handler) run(t *tee, out *http.Request) {
	view, o := httpx.Observe(t.view(), nil)
	returned := false
	defer func() {
		resp := o.End(returned)
		switch {
		case returned:
			t.ended(resp)
		case t.state == undecided && t.standIn():
			// Only then is a panic stopped: others go on, with their stack.
			value := recover()
			switch {
			case value == nil: // runtime.Goexit goes on by itself
				t.failed()
			case !aborted(value):
				panic(value)
			default:
				t.useStale()
			}
		default:
			t.failed()
		}
	}()
	h.next.ServeHTTP(view, out)
	returned = true
}

// aborted reports whether a panic is that of a handler that gives up.
func aborted(value any) bool {
	err, ok := value.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

// background validates an entry whose response was sent.
func (h *handler) background(ctx context.Context, x *exchange) {
	defer func() {
		if value := recover(); value != nil && !aborted(value) {
			if h.c.o.Logger != nil {
				h.c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "a validation panicked", slog.String("cache", h.c.o.Name), slog.Any("panic", value))
			}
		}
	}()
	f, _ := h.c.flights.join(x, false)
	x.in = x.in.WithContext(ctx)
	h.lead(&nobody{header: make(http.Header)}, x, f)
}

// nobody is a response writer of a response that nobody reads.
type nobody struct{ header http.Header }

func (n *nobody) Header() http.Header         { return n.header }
func (n *nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n *nobody) WriteHeader(int)             {}

// unsafe has the handler answer a request that may change something.
func (h *handler) unsafe(w http.ResponseWriter, r *http.Request) {
	c := h.c
	c.count.bypassed.Add(1)
	bypassed := c.bypasses(r)
	if r.Method == http.MethodPost && c.rules.rfc && !bypassed && c.enforces(r) {
		h.post(w, r)
		return
	}
	httpx.Serve(h.next, w, r, func(code int) {
		c.invalidate(r, "", code, w.Header(), nil)
		if !bypassed && c.enforces(r) {
			s := status{name: c.o.Name, fwd: "method"}
			w.Header()[cacheStatus] = s.lines(w.Header()[cacheStatus])
			c.withheldFrom(w.Header())
		}
	}, nil)
}

// post has the handler answer a POST, whose response may be stored for GET.
func (h *handler) post(w http.ResponseWriter, r *http.Request) {
	x := h.c.exchangeOf(r, "", &h.c.rules)
	f, _ := h.c.flights.join(x, false)
	x.flight = f
	defer h.c.flights.land(f)
	defer f.finish(http.ErrAbortHandler)
	h.run(newTee(x, w), r)
}

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
