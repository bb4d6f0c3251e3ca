package middlewaretest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// transportChecks lists the promises of a wrapper of round trippers, in the
// order of the table in the package comment.
func transportChecks() []check {
	return []check{
		{name: "request", source: "http.Request", protocols: everyProtocol(), run: sentRequest},
		{name: "request-unchanged", source: "http.RoundTripper", protocols: withoutWire(), run: requestUnchanged},
		{name: "request-body-closed", source: "http.RoundTripper", protocols: withoutWire(), run: requestBodyClosed},
		{name: "context", source: "http.Request.Context", protocols: withoutWire(), run: contextPasses},
		{name: "response", source: "RFC 9110, 5.3, 15", protocols: everyProtocol(), run: responsePasses},
		{name: "response-body-closed", source: "http.Response.Body", protocols: withoutWire(), run: responseBodyClosed},
		{name: "one-result", source: "http.RoundTripper", protocols: withoutWire(), run: oneResult},
		{name: "error", source: "errors.Is", protocols: withoutWire(), run: errorPasses},
		{name: "head", source: "RFC 9110, 9.3.2", protocols: everyProtocol(), run: headResponse},
		{name: "trailers", source: "RFC 9110, 6.5", protocols: everyProtocol(), run: responseTrailers},
		{name: "informational", source: "RFC 9110, 15.2", protocols: everyProtocol(), run: informationalResponse},
		{name: "stream-response", source: "http.Response.Body", protocols: everyProtocol(), run: responseStreams},
		{name: "stream-request", source: "http.Request.Body", protocols: everyProtocol(), run: requestStreams},
		{name: "upgrade", source: "http.Response.Body", protocols: onlyHTTP1(), run: upgradePasses},
		{name: "cancel", source: "http.Request.Context", protocols: everyProtocol(), run: cancelReachesServer},
		{name: "concurrent", source: "this package", protocols: everyProtocol(), run: concurrentTrips},
		{name: "goroutines", source: "this package", protocols: everyProtocol(), run: transportGoroutines},
		{name: "refusal-error", source: "http.RoundTripper", protocols: withoutWire(), needs: aRefusal, run: refusalError},
		{name: "refusal-body-closed", source: "http.RoundTripper", protocols: withoutWire(), needs: aRefusal, run: refusalBodyClosed},
	}
}

// wrapped returns the wrapper under test round a base of the kit's own.
func (p *probe) wrapped(base http.RoundTripper) http.RoundTripper {
	return p.around(p.wrap, p.countedBase(base))
}

func (p *probe) around(wrap func(http.RoundTripper) http.RoundTripper, base http.RoundTripper) http.RoundTripper {
	if rt := wrap(base); rt != nil {
		return rt
	}
	p.report("a round tripper from the wrapper", "a nil http.RoundTripper")
	return base
}

// roundTrip calls a round tripper that may hang, panic, or break its contract. It
// reports a request that has not been passed on, unless its context had ended
// before.
func (p *probe) roundTrip(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	type result struct {
		res *http.Response
		err error
	}
	results := make(chan result)
	before, ended := p.reached.Load(), req.Context().Err() != nil
	go func() {
		var r result
		defer func() {
			if v := recover(); v != nil {
				p.report("no panic of RoundTrip", "the panic %v", v)
				r = result{err: fmt.Errorf("RoundTrip panics: %v", v)}
			}
			select {
			case results <- r:
			case <-p.ctx.Done():
				if r.res != nil && r.res.Body != nil {
					_ = r.res.Body.Close()
				}
			}
		}()
		r.res, r.err = rt.RoundTrip(req) //nolint:bodyclose // who receives the result closes it
	}()
	var r result
	select {
	case r = <-results:
	case <-p.ctx.Done():
		r.err = fmt.Errorf("RoundTrip has not returned after %v: %w", p.patience, context.Cause(p.ctx))
	}
	if !ended {
		p.demandReach(before, r.res, r.err)
	}
	return r.res, r.err
}

// openThrough sends a request through a round tripper and reports an error.
func (p *probe) openThrough(rt http.RoundTripper, req *http.Request) *http.Response {
	res, err := p.roundTrip(rt, req)
	switch {
	case err == nil && res != nil && res.Body != nil:
		return res
	case err == nil && res != nil:
		err = errors.New("a response whose Body is nil")
	case err == nil:
		err = errors.New("neither a response nor an error")
	}
	p.reportError("a response", err)
	return nil
}

// through is openThrough that reads the whole response.
func (p *probe) through(rt http.RoundTripper, req *http.Request) *answer {
	res := p.openThrough(rt, req) //nolint:bodyclose // readAnswer closes it
	if res == nil {
		return nil
	}
	a, err := readAnswer(res)
	if err != nil {
		p.reportError("a complete response", err)
		return nil
	}
	return a
}

// baseFunc is a round tripper that is a func.
type baseFunc func(*http.Request) (*http.Response, error)

func (f baseFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
