package middlewaretest

import (
	"errors"
	"fmt"
	"net/http"
)

// Every promise but a refusal's is about a request that the middleware lets
// pass. One that it answers itself shows nothing, however well it answers: the
// code in this file sees to it that no check takes such an answer for a pass.

const (
	wantHandler = "every request to reach the handler; if the middleware needs credentials, set Options.Request"
	wantBase    = "every request to be passed on to the base; if the wrapper needs credentials, set TransportOptions.Request"
)

// letsPass is the check before all others of a middleware.
func letsPass() check {
	return check{name: "request", source: "http.Request", protocols: onlyHTTP1(), run: func(p *probe) {
		site := p.guard(func(http.ResponseWriter, *http.Request) {})
		_, _ = site.try(site.request(http.MethodGet, nil))
	}}
}

// passesOn is the check before all others of a wrapper of round trippers.
func passesOn() check {
	return check{name: "request", source: "http.Request", protocols: withoutWire(), run: func(p *probe) {
		res, err := p.roundTrip(p.wrapped(&contractBase{}), p.request(http.MethodGet, nowhere, nil))
		if err == nil && res != nil && res.Body != nil {
			_ = res.Body.Close()
		}
	}}
}

// counted notes the calls of a handler of the kit's own.
func (p *probe) counted(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.reached.Add(1)
		handler.ServeHTTP(w, r)
	})
}

// countedBase notes the calls of a base of the kit's own.
func (p *probe) countedBase(base http.RoundTripper) http.RoundTripper {
	return baseFunc(func(req *http.Request) (*http.Response, error) {
		p.reached.Add(1)
		return base.RoundTrip(req)
	})
}

// demandReach reports a request that has ended in a response or an error
// although, since reached was at before, no handler or base of the kit has been
// called. There is nothing to wait for then: the probe's time is over.
func (p *probe) demandReach(before int64, res *http.Response, err error) {
	if p.check.needs == aRefusal || p.reached.Load() != before {
		return
	}
	if err == nil && res == nil {
		err = errors.New("neither a response nor an error")
	}
	got, want := "error: %v", wantHandler
	args := []any{err}
	if err == nil {
		got, args = "status %d", []any{res.StatusCode}
	}
	if p.wrap != nil {
		got, want = got+", and the request was not passed on", wantBase
	} else {
		got += ", and the handler was not called"
	}
	to := &p.failure
	select {
	case <-p.leftOut.done():
	default:
		if p.ctx.Err() != nil { // it may be on its way
			to = &p.fallback
		}
	}
	p.note(to, want, got, args...)
	p.cancel()
}

// refusalStops reports a request that the refusing middleware has passed on.
func (p *probe) refusalStops() bool {
	if p.reached.Load() == 0 {
		return true
	}
	if p.wrap != nil {
		p.report("a refused request to stop at the wrapper; TransportOptions.Refusing has to refuse what Request has prepared, too", "a call of the base")
	} else {
		p.report("a refused request to stop at the middleware; Options.Refusing has to refuse what Options.Request has prepared, too", "a call of the handler")
	}
	return false
}

// hides reports a ResponseWriter that lacks an interface of net/http's own.
func (p *probe) hides(w http.ResponseWriter, name, method string) {
	p.report(name+" by type assertion; embed it in the wrapper of the ResponseWriter, or forward "+method+
		", and add Unwrap() http.ResponseWriter", "%T, which has no %s", w, method)
}

// controlFails reports an error of a method of http.ResponseController.
func (p *probe) controlFails(method string, err error) {
	want := "ResponseController." + method + " to work"
	if errors.Is(err, http.ErrNotSupported) {
		want += fmt.Sprintf("; forward %s in the wrapper of the ResponseWriter, or add Unwrap() http.ResponseWriter", method)
	}
	p.reportError(want, err)
}
