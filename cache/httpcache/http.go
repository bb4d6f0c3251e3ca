package httpcache

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
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
