package middlewaretest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"sync"
)

// The checks in this file put the wrapper round a base that keeps the contract
// of http.RoundTripper and takes notes. Wrappers may call it more than once, and
// concurrently.

// nowhere is the address of requests that no server sees.
const nowhere = "http://127.0.0.1:9/middlewaretest/"

var errBase = errors.New("middlewaretest: the base transport fails")

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// trackedBody is a body that notes whether it has been closed.
type trackedBody struct {
	io.Reader
	closed *event
}

func newTrackedBody(text string) *trackedBody {
	return &trackedBody{Reader: strings.NewReader(text), closed: newEvent()}
}

func (b *trackedBody) Close() error {
	b.closed.set()
	return nil
}

// contractBase answers each request with a body that it remembers.
type contractBase struct {
	mu     sync.Mutex
	bodies []*trackedBody // guarded by mu
}

func (b *contractBase) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, err := io.Copy(io.Discard, req.Body)
		if err := errors.Join(err, req.Body.Close()); err != nil {
			return nil, err
		}
	}
	body := newTrackedBody("the body of the response")
	b.mu.Lock()
	b.bodies = append(b.bodies, body)
	b.mu.Unlock()
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: body, ContentLength: -1, Request: req,
	}, nil
}

func failingBase(req *http.Request) (*http.Response, error) {
	closeBody(req)
	return nil, errBase
}

// requestUnchanged compares a request before and after its round trip.
func requestUnchanged(p *probe) {
	body := newTrackedBody("content")
	req := p.request(http.MethodPut, nowhere+"path?q=1", body)
	req.Header["X-Middlewaretest"] = []string{"one", "two"}
	req.Trailer = http.Header{"X-Sum": {"42"}}
	before, original := req.Clone(req.Context()), *req
	p.through(p.wrapped(&contractBase{}), req)
	switch {
	case !reflect.DeepEqual(req.Header, before.Header):
		p.report("the caller's Header as it was", "Header %v, before: %v", req.Header, before.Header)
	case !reflect.DeepEqual(req.URL, before.URL):
		p.report("the caller's URL as it was", "URL %v, before: %v", req.URL, before.URL)
	case !maps.EqualFunc(req.Trailer, before.Trailer, func(a, b []string) bool { return reflect.DeepEqual(a, b) }):
		p.report("the caller's Trailer as it was", "Trailer %v, before: %v", req.Trailer, before.Trailer)
	case req.Body != original.Body:
		p.report("the caller's Body field as it was", "another Body, a %T", req.Body)
	case req.Method != original.Method, req.Host != original.Host, req.ContentLength != original.ContentLength,
		req.Close != original.Close, req.Context() != original.Context():
		p.report("the caller's request as it was", "another Method, Host, ContentLength, Close or Context")
	}
}

// requestBodyClosed looks at the body after a success, after an error, and after
// a request whose context had ended before.
func requestBodyClosed(p *probe) {
	ended, end := context.WithCancel(p.ctx)
	end()
	for _, c := range []struct {
		when  string
		base  http.RoundTripper
		ended bool
	}{
		{"after a response", &contractBase{}, false},
		{"after an error of the base", baseFunc(failingBase), false},
		{"when the context has ended before", baseFunc(func(req *http.Request) (*http.Response, error) {
			closeBody(req)
			return nil, req.Context().Err()
		}), true},
	} {
		body := newTrackedBody("content")
		req := p.request(http.MethodPost, nowhere, body)
		if c.ended {
			req = req.WithContext(ended)
		}
		res, err := p.roundTrip(p.wrapped(c.base), req)
		if err == nil && res != nil {
			_, _ = readAnswer(res)
		}
		p.await(body.closed, "the request body closed "+c.when, "a request body still open")
	}
}

// contextPasses looks for values and the deadline of the caller's context.
func contextPasses(p *probe) {
	type key struct{}
	ctx := context.WithValue(p.ctx, key{}, "value")
	deadline, _ := ctx.Deadline()
	base := &contractBase{}
	rt := p.wrapped(baseFunc(func(req *http.Request) (*http.Response, error) {
		if got := req.Context().Value(key{}); got != "value" {
			p.report("the values of the caller's context", "the value %v", got)
		}
		if got, ok := req.Context().Deadline(); !ok || got.After(deadline) {
			p.report("the caller's deadline or an earlier one", "the deadline %v, set: %t", got, ok)
		}
		return base.RoundTrip(req)
	}))
	p.through(rt, p.request(http.MethodGet, nowhere, nil).WithContext(ctx))
}

// responseBodyClosed closes the body of a response unread, half read and read.
func responseBodyClosed(p *probe) {
	for _, c := range []struct {
		when  string
		bytes int64
	}{{"unread", 0}, {"half read", 8}, {"read to its end", 1 << 10}} {
		base := &contractBase{}
		res := p.openThrough(p.wrapped(base), p.request(http.MethodGet, nowhere, nil))
		if res == nil {
			return
		}
		_, _ = io.CopyN(io.Discard, res.Body, c.bytes)
		if err := res.Body.Close(); err != nil {
			p.report("a body that closes "+c.when, "error: %v", err)
		}
		base.mu.Lock()
		bodies := base.bodies
		base.mu.Unlock()
		for _, body := range bodies {
			p.await(body.closed, "every body of the base closed when the caller closes its own "+c.when, "a body of the base still open")
		}
	}
}

func oneResult(p *probe) {
	res, err := p.roundTrip(p.wrapped(&contractBase{}), p.request(http.MethodGet, nowhere, nil))
	if res == nil || err != nil {
		p.report("a response and no error when the base succeeds", "response is nil: %t, error: %v", res == nil, err)
	}
	if res != nil && res.Body != nil {
		_ = res.Body.Close()
	}
	res, err = p.roundTrip(p.wrapped(baseFunc(failingBase)), p.request(http.MethodGet, nowhere, nil))
	if res != nil || err == nil {
		p.report("an error and no response when the base fails", "response is nil: %t, error: %v", res == nil, err)
	}
	if res != nil && res.Body != nil {
		_ = res.Body.Close()
	}
}

func errorPasses(p *probe) {
	req := p.request(http.MethodPost, nowhere, bytes.NewReader([]byte("content")))
	res, err := p.roundTrip(p.wrapped(baseFunc(failingBase)), req)
	if res != nil && res.Body != nil {
		_ = res.Body.Close()
	}
	if !errors.Is(err, errBase) {
		p.report("an error that is the base's, by errors.Is", "error: %v", err)
	}
}

func refusalError(p *probe) {
	rt := p.around(p.refusingWrap, p.countedBase(baseFunc(failingBase)))
	res, err := p.roundTrip(rt, p.request(http.MethodGet, nowhere, nil))
	if res != nil && res.Body != nil {
		_ = res.Body.Close()
	}
	switch {
	case !p.refusalStops():
	case res != nil:
		p.report("no response made up by a refusal", "a response with status %d", res.StatusCode)
	case err == nil:
		p.report("an error from a refusal", "neither a response nor an error")
	}
}

func refusalBodyClosed(p *probe) {
	body := newTrackedBody("content")
	rt := p.around(p.refusingWrap, p.countedBase(baseFunc(failingBase)))
	res, _ := p.roundTrip(rt, p.request(http.MethodPost, nowhere, body))
	if res != nil && res.Body != nil {
		_ = res.Body.Close()
	}
	p.refusalStops() // the base closes every body, too
	p.await(body.closed, "the request body closed after a refusal", "a request body still open")
}
