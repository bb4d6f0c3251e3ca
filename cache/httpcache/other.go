package httpcache

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"time"
)

// other sends a request that is no GET and no HEAD.
func (t *transport) other(r *http.Request, principal string, bypassed bool) (*http.Response, error) {
	c := t.c
	c.count.bypassed.Add(1)
	stores := r.Method == http.MethodPost && t.rules.rfc && !bypassed && c.enforces(r)
	var x *exchange
	over := func() {}
	if stores {
		x = c.exchangeOf(r, principal, &t.rules)
		f, _ := c.flights.join(x, false)
		x.flight = f
		over = sync.OnceFunc(func() { c.flights.land(f) })
	}
	handed := false
	defer func() {
		if !handed {
			over()
		}
	}()
	resp, err := t.base.RoundTrip(r)
	if err != nil || resp == nil || safeMethod(r.Method) {
		return resp, err
	}
	c.invalidate(r, principal, resp.StatusCode, resp.Header, x)
	if bypassed || !c.enforces(r) || resp.Header == nil {
		return resp, nil
	}
	s := status{name: c.o.Name, fwd: "method"}
	if stores && resp.Body != nil {
		if e, why := x.admit(resp.StatusCode, resp.Header, time.Now()); e != nil {
			s.stored, s.timed, s.ttl, handed = true, true, int64(e.remaining(time.Now())/time.Second), true
			resp.Body = ending(&recorded{ReadCloser: resp.Body, x: x, e: e, f: x.flight}, over)
		} else {
			c.count.refuse(why)
		}
	}
	resp.Header[cacheStatus] = s.lines(resp.Header[cacheStatus])
	c.withheldFrom(resp.Header)
	return resp, nil
}

// recorded is a body that is stored once it was read to its end.
type recorded struct {
	io.ReadCloser
	x    *exchange
	e    *Entry
	f    *flight
	log  bytes.Buffer
	over bool
}

// Read implements [io.Reader].
func (b *recorded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.over {
		return n, err
	}
	if int64(b.log.Len()+n) <= b.x.c.o.MaxObject {
		b.log.Write(p[:n])
	} else {
		b.end(false)
	}
	if err != nil {
		b.end(err == io.EOF) // an error that wraps it is none of a complete body
	}
	return n, err
}

// Close implements [io.Closer].
func (b *recorded) Close() error {
	b.end(false)
	return b.ReadCloser.Close()
}

func (b *recorded) end(complete bool) {
	if b.over {
		return
	}
	b.over = true
	if !complete {
		b.x.abandon(b.e, refusedIncomplete)
		return
	}
	if b.log.Len() > 0 {
		b.f.chunks, b.f.end = [][]byte{b.log.Bytes()}, int64(b.log.Len())
	}
	b.x.commit(b.e, b.f, nil)
}
