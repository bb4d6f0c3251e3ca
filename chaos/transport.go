package chaos

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/uprung/uprung"
)

// Transport injects faults into requests through base, innermost of a chain of
// transports. A nil base means [http.DefaultTransport].
//
// Where others of this library return an error for what they refuse, it makes up a
// response for a Status: that is what it is for, and the response is marked.
func (i *Injector) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{injector: i, base: base}
}

type transport struct {
	injector *Injector
	base     http.RoundTripper
}

// Unwrap returns the round tripper below.
func (t *transport) Unwrap() http.RoundTripper { return t.base }

// Layer describes the injector.
func (t *transport) Layer() uprung.Layer { return t.injector.Layer() }

// CloseIdleConnections closes those of base, for [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

// RoundTrip sends a request, with a fault or without.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	n, ok := t.injector.Next(Call{Context: r.Context(), Request: r, Method: r.Method})
	if !ok {
		return t.base.RoundTrip(r)
	}
	ended := false // by the body of the response
	defer func() {
		if !ended {
			n.End()
		}
	}()
	goOn, err := n.Hold(r.Context())
	if err != nil {
		closeBody(r)
		return nil, err
	}
	if !goOn {
		return t.base.RoundTrip(r)
	}
	if err := n.Err(errReset); err != nil {
		closeBody(r)
		return nil, err
	}
	if n.Fault.Status != 0 {
		closeBody(r)
		return made(r, &n), nil
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil || resp == nil {
		return resp, err
	}
	if resp.Header == nil {
		resp.Header = make(http.Header)
	}
	resp.Header.Set(MarkField, n.Fault.Name)
	if n.Fault.Body != (Body{}) && resp.Body != nil && resp.Body != http.NoBody && resp.StatusCode != http.StatusSwitchingProtocols {
		ended = true
		resp.Body = &damagedBody{ReadCloser: resp.Body, damage: newDamage(r.Context(), n)}
	}
	return resp, nil
}

// closeBody closes the body of a request that is not sent, as RoundTrip must.
func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close() // whatever it says, the request is over
	}
}

// made makes up a response.
func made(r *http.Request, n *Injection) *http.Response {
	header := http.Header{
		MarkField:      {n.Fault.Name},
		"Content-Type": {"text/plain; charset=utf-8"},
		"Date":         {time.Now().UTC().Format(http.TimeFormat)},
	}
	if after := n.Fault.RetryAfter; after > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10))
	}
	header.Set("Content-Length", "0")
	return &http.Response{
		Status:     strconv.Itoa(n.Fault.Status) + " " + http.StatusText(n.Fault.Status),
		StatusCode: n.Fault.Status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  header,
		Body:    http.NoBody,
		Request: r,
	}
}

// damagedBody is the body of a response, which is.
type damagedBody struct {
	io.ReadCloser
	damage *damage
	ended  sync.Once
}

// Read implements [io.Reader].
func (b *damagedBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return b.ReadCloser.Read(p)
	}
	n, err := b.damage.part(len(p))
	if err != nil {
		b.end()
		return 0, err
	}
	n, err = b.ReadCloser.Read(p[:n])
	b.damage.pass(p[:n])
	if err != nil {
		b.end()
	}
	return n, err
}

// Close implements [io.Closer].
func (b *damagedBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

// end gives the place of the injection back.
func (b *damagedBody) end() { b.ended.Do(b.damage.n.End) }
