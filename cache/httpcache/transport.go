package httpcache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/uprung/uprung"
)

// Transport answers requests through base from the cache: a shared one, unless
// Options.Private says for whom a request is. Under [httputil.ReverseProxy] or lb.Proxy it
// is the best form of a caching reverse proxy: it sees what a handler does not, that an
// origin cannot be reached, and that a body was cut off. A nil base means
// [http.DefaultTransport].
//
// Where others of this library return an error for what they refuse, it answers a request
// that says only-if-cached with a 504 of its own, as RFC 9111 (section 5.2.1.7) has it.
func (c *Cache) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	t := &transport{c: c, base: base, rules: c.rules}
	t.rules.shared = c.o.Private == nil
	return t
}

type transport struct {
	c     *Cache
	base  http.RoundTripper
	rules rules
}

// Unwrap returns the round tripper below.
func (t *transport) Unwrap() http.RoundTripper { return t.base }

// Layer describes the cache.
func (t *transport) Layer() uprung.Layer { return t.c.Layer() }

// CloseIdleConnections closes those of base, for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// RoundTrip answers a request.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	c := t.c
	principal, ok := "", true
	if c.o.Private != nil {
		principal, ok = c.o.Private(r)
	}
	read := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == ""
	bypassed := c.bypasses(r)
	if !ok || passable(r) || bypassed && read {
		c.count.bypassed.Add(1)
		return t.base.RoundTrip(r)
	}
	if !read {
		return t.other(r, principal, bypassed)
	}
	if r.Method == "" {
		r = r.WithContext(r.Context())
		r.Method = http.MethodGet
	}
	if r.Header == nil {
		r = r.WithContext(r.Context())
		r.Header = make(http.Header)
	}
	now := time.Now()
	if e := c.quick(r, principal, now); e != nil {
		closeBody(r)
		return t.quickly(r, e, now), nil
	}
	x := c.begin(r, principal, &t.rules, true, now)
	if x.shadow = !c.enforces(r); x.shadow {
		if x.verdict.action == reuse || x.verdict.action == reuseOnce {
			c.count.shadowHits.Add(1)
		} else {
			c.count.misses.Add(1)
		}
		return t.forward(x)
	}
	switch x.verdict.action {
	case reuse, reuseOnce:
		closeBody(r)
		c.count.hits.Add(1)
		if !x.verdict.entry.fresh(now) {
			c.count.stale.Add(1)
		}
		resp := t.answer(x, x.verdict.entry, nil)
		if x.verdict.action == reuseOnce {
			c.revalidate(x, t.background)
		}
		return resp, nil
	case unmet:
		closeBody(r)
		c.count.unmet.Add(1)
		return response(r, http.StatusGatewayTimeout, http.Header{"Content-Length": {"0"}, "Date": {now.UTC().Format(http.TimeFormat)}}, http.NoBody, 0), nil
	case validate:
		c.count.validations.Add(1)
	default:
		c.count.misses.Add(1)
	}
	return t.forward(x)
}

// quickly makes a response of a fresh one. Its values are copies in one piece, since what the
// caller does to them is not to be done to the stored ones.
func (t *transport) quickly(r *http.Request, e *Entry, now time.Time) *http.Response {
	aged := e.aged(now, t.c.o.Name)
	n := len(aged.age) + len(aged.status)
	for at := range e.fields {
		n += len(e.fields[at].values)
	}
	values := make([]string, 0, n)
	h := make(http.Header, len(e.fields)+2)
	add := func(name string, of []string) {
		from := len(values)
		values = append(values, of...)
		h[name] = values[from:len(values):len(values)]
	}
	for at := range e.fields {
		add(e.fields[at].name, e.fields[at].values)
	}
	add("Age", aged.age)
	add(cacheStatus, aged.status)
	made := &struct {
		resp http.Response
		body reader
	}{resp: http.Response{
		Status: e.line, StatusCode: e.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: http.NoBody, ContentLength: e.body.length, Request: r,
	}}
	if r.Method != http.MethodHead && e.body.length > 0 {
		made.body = reader{chunks: e.body.chunks, left: e.body.length}
		made.resp.Body = &made.body
	}
	return &made.resp
}

// closeBody closes the body of a request that is not sent, as RoundTrip must.
func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // whatever it says, the request is over
	}
}

// response makes a response of HTTP/1.1.
func response(r *http.Request, code int, h http.Header, body io.ReadCloser, length int64) *http.Response {
	if r.Method == http.MethodHead {
		body = http.NoBody
	}
	return &http.Response{
		Status: strconv.Itoa(code) + " " + http.StatusText(code), StatusCode: code,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: body, ContentLength: length, Request: r,
	}
}

// answer makes a response of a stored one.
func (t *transport) answer(x *exchange, e *Entry, lines []string) *http.Response {
	e.touch()
	h := make(http.Header, len(e.header)+2)
	reply := t.c.prepare(h, x.in, e, time.Now(), lines)
	h = h.Clone() // what the caller does to a value is not done to the stored one
	length := int64(-1)
	if said := h["Content-Length"]; len(said) > 0 {
		if n, err := strconv.ParseInt(said[0], 10, 64); err == nil {
			length = n
		}
	}
	if reply.status == http.StatusNotModified || reply.n == 0 && reply.parts == nil {
		if reply.status == http.StatusNotModified {
			length = 0
		}
		return response(x.in, reply.status, h, http.NoBody, length)
	}
	return response(x.in, reply.status, h, reply.body(), length)
}

// forward has the origin answer, or another request's fetch.
func (t *transport) forward(x *exchange) (*http.Response, error) {
	c := t.c
	if x.in.Method == http.MethodHead || x.wants.noStore {
		return t.fetch(x.in.Context(), x, nil)
	}
	f, leads := c.flights.join(x, x.waits())
	if !leads {
		resp, err := t.follow(x, f)
		if resp != nil || err != nil {
			closeBody(x.in)
			return resp, err
		}
		x.alone = true
		f, _ = c.flights.join(x, false)
	}
	return t.lead(x, f)
}

// led is what came of a fetch.
type led struct {
	resp     *http.Response
	err      error
	returned bool
	panicked any
}

// lead has the origin answer, so that others may wait for it. The fetch goes on for them
// when its own request has ended: it has a goroutine until the header is here.
func (t *transport) lead(x *exchange, f *flight) (*http.Response, error) {
	x.flight = f
	ctx, release := f.detach(x.in.Context(), t.c.o.FetchTimeout)
	over := sync.OnceFunc(func() {
		f.finish(errEnded)
		t.c.flights.land(f)
		release()
	})
	result, left := make(chan led), x.in.Context().Done()
	go func() {
		var l led
		defer func() {
			if !l.returned {
				l.panicked = recover() // it is the caller's
			}
			if l.resp == nil {
				over()
			}
			select {
			case result <- l:
			case <-left:
				t.nobodys(x, &l)
			}
		}()
		l.resp, l.err = t.fetch(ctx, x, over) //nolint:bodyclose // the caller does, or nobodys
		l.returned = true
	}()
	select {
	case l := <-result:
		switch {
		case l.returned:
			return l.resp, l.err
		case l.panicked != nil:
			panic(l.panicked)
		}
		runtime.Goexit() // as what was called there has
		return nil, nil
	case <-left:
		return nil, context.Cause(x.in.Context())
	}
}

// nobodys ends what came of a fetch whose request has ended.
func (t *transport) nobodys(x *exchange, l *led) {
	if l.resp != nil && l.resp.Body != nil {
		_ = l.resp.Body.Close() // others read on
	}
	if l.panicked != nil && t.c.o.Logger != nil {
		t.c.o.Logger.LogAttrs(x.in.Context(), slog.LevelWarn, "a fetch panicked", slog.String("cache", t.c.o.Name), slog.Any("panic", l.panicked))
	}
}

var errEnded = io.ErrUnexpectedEOF

// follow answers a request by what another is fetching. It returns nothing if that is not
// for it.
func (t *transport) follow(x *exchange, f *flight) (*http.Response, error) {
	c := t.c
	e, err := f.await(x.in.Context(), c.o.Collapse.Wait)
	if err != nil {
		f.part()
		return nil, err
	}
	now := time.Now()
	if !x.shareable(e, now) {
		f.part()
		return nil, nil
	}
	s := status{name: c.o.Name, fwd: x.verdict.fwd, collapsed: 1}
	lines := s.lines(e.header[cacheStatus])
	if e.body != nil {
		f.part()
		c.count.collapsed.Add(1)
		return t.answer(x, e, lines), nil
	}
	from := f.reader(false)
	if from == nil {
		f.part()
		return nil, nil
	}
	c.count.collapsed.Add(1)
	h := make(http.Header, len(e.header)+2)
	maps.Copy(h, e.header.Clone())
	h["Age"], h[cacheStatus] = e.aged(now, c.o.Name).age, lines
	if e.unmodified(x.in, now) {
		from.close()
		e.withoutContent(h)
		return response(x.in, http.StatusNotModified, h, http.NoBody, 0), nil
	}
	return response(x.in, e.status, h, &logBody{from: from, ctx: x.in.Context(), patience: c.o.FetchTimeout, over: from.close}, e.total), nil
}

// logBody is the body of a response that is read from the log of a fetch.
type logBody struct {
	from     *logReader
	ctx      context.Context //nolint:containedctx // of the request that the body answers
	patience time.Duration
	over     func()
	whole    func() // called at the end of a body that is complete; may be nil
	rest     []byte
	err      error
	once     sync.Once
}

// Read implements [io.Reader].
func (b *logBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		if b.rest, b.err = b.from.next(b.ctx, b.patience); b.err != nil {
			if errors.Is(b.err, errWhole) {
				if b.err = io.EOF; b.whole != nil {
					b.whole()
				}
			}
			b.once.Do(b.over)
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close implements [io.Closer].
func (b *logBody) Close() error {
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	b.rest = nil
	b.once.Do(b.over)
	return nil
}

// fetch has the origin answer. If the response is handed out, over is called at its end.
func (t *transport) fetch(ctx context.Context, x *exchange, over func()) (*http.Response, error) {
	c, f := t.c, x.flight
	out := x.send(ctx)
	for {
		resp, err := t.base.RoundTrip(out)
		now := time.Now()
		if err != nil || resp == nil {
			if x.verdict.action == validate && !x.shadow && x.rules.staleOnErrorAllowed(x.verdict.entry, &x.wants, false, now) && x.in.Context().Err() == nil {
				return t.standIn(x, over), nil
			}
			if f != nil { // which is no reason for others not to wait for the next
				f.decide(nil)
			}
			return nil, err
		}
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
		h := resp.Header
		if resp.ContentLength >= 0 && h["Content-Length"] == nil && resp.StatusCode != http.StatusNotModified && x.in.Method == http.MethodGet {
			h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
		}
		if resp.Uncompressed { // by net/http: the stored bytes are not those of the tag
			if tag, ok := tagOf(h); ok && !tag.weak {
				h["Etag"] = []string{"W/" + tag.value}
			}
		}
		d := x.headers(resp.StatusCode, h, now)
		if d.rest {
			rest, err := io.ReadAll(io.LimitReader(resp.Body, d.entry.part.size()+1))
			d.entry = x.completed(d.entry, rest, err)
			d.use, d.again = d.entry != nil, d.entry == nil
		}
		switch {
		case d.again:
			drain(resp.Body)
			out = x.sendAgain()
			continue
		case d.use:
			drain(resp.Body)
			if x.decided(d.entry, now); f != nil {
				f.finish(nil)
				over()
			}
			return t.answer(x, d.entry, d.lines), nil
		}
		if !x.shadow {
			h[cacheStatus] = d.lines
			c.withheldFrom(h)
			if _, dated := dateOf(h, now); !dated {
				h["Date"] = []string{now.UTC().Format(http.TimeFormat)}
			}
		}
		resp.Request = x.in
		if f == nil {
			return resp, nil
		}
		if !d.keep || resp.Body == nil {
			if d.keep {
				x.abandon(d.entry, refusedIncomplete)
			}
			x.decided(nil, now)
			if resp.Body == nil {
				over()
				return resp, nil
			}
			resp.Body = ending(resp.Body, over)
			return resp, nil
		}
		x.decided(d.entry, now)
		from := f.reader(true)
		if resp.Body == http.NoBody {
			x.commit(d.entry, f, nil)
			f.finish(nil)
			from.close()
			over()
			return resp, nil
		}
		own := *resp // the trailers of resp come while the client looks at its own
		own.Trailer = resp.Trailer.Clone()
		own.Body = &logBody{from: from, ctx: x.in.Context(), over: from.close, whole: func() {
			if own.Trailer == nil {
				own.Trailer = make(http.Header)
			}
			maps.Copy(own.Trailer, resp.Trailer)
		}}
		go t.pump(x, d.entry, resp.Body, over)
		return &own, nil
	}
}

// standIn answers with a stale response for an origin that could not be reached.
func (t *transport) standIn(x *exchange, over func()) *http.Response {
	e := x.verdict.entry
	t.c.count.stale.Add(1)
	s := status{name: t.c.o.Name, fwd: x.verdict.fwd, timed: true, ttl: int64(e.remaining(time.Now()) / time.Second)}
	if f := x.flight; f != nil {
		f.decide(e)
		f.finish(nil)
		over()
	}
	return t.answer(x, e, s.lines(e.header[cacheStatus]))
}

// pump reads the body of a response into the log of its flight, and stores it at its end.
func (t *transport) pump(x *exchange, e *Entry, body io.ReadCloser, over func()) {
	f := x.flight
	err := f.fill(x.out.Context(), body)
	_ = body.Close()    // it was read to its end, or failed
	x.commit(e, f, err) // before a client can know that it was all
	f.finish(err)
	over()
}

// fill reads a body into the log.
func (f *flight) fill(ctx context.Context, body io.Reader) error {
	var buf [chunkSize]byte
	for {
		n, err := body.Read(buf[:])
		if n > 0 {
			if err := f.write(ctx, buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// maxDrained is how much of a body that nobody wants is read, so that its connection can
// be used again.
const maxDrained = 4 << 10

// drain closes the body of a response that is not passed on.
func drain(body io.ReadCloser) {
	if body == nil {
		return
	}
	_, _ = io.CopyN(io.Discard, body, maxDrained) // an error is the end as well
	_ = body.Close()
}

// ending returns a body at whose end a function is called.
func ending(body io.ReadCloser, over func()) io.ReadCloser {
	b := &endingBody{ReadCloser: body, over: over}
	if conn, ok := body.(io.ReadWriteCloser); ok {
		return struct {
			*endingBody
			io.Writer
		}{b, conn}
	}
	return b
}

type endingBody struct {
	io.ReadCloser
	over func()
}

// Read implements [io.Reader].
func (b *endingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.over()
	}
	return n, err
}

// Close implements [io.Closer].
func (b *endingBody) Close() error {
	err := b.ReadCloser.Close()
	b.over()
	return err
}

// background validates an entry whose response was sent.
func (t *transport) background(ctx context.Context, x *exchange) {
	c := t.c
	f, _ := c.flights.join(x, false)
	x.flight, x.in = f, x.in.WithContext(ctx)
	done := make(chan struct{})
	over := sync.OnceFunc(func() {
		f.finish(errEnded)
		c.flights.land(f)
		close(done)
	})
	resp, err := t.fetch(ctx, x, over)
	if err != nil || resp == nil {
		over()
		if c.o.Logger != nil {
			c.o.Logger.LogAttrs(ctx, slog.LevelWarn, "a validation failed", slog.String("cache", c.o.Name), slog.Any("error", err))
		}
		return
	}
	if resp.Body != nil {
		_, _ = io.Copy(io.Discard, resp.Body) // what matters is what is stored of it
		_ = resp.Body.Close()
	}
	<-done
}
