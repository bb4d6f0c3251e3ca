package ratelimit

import (
	"net"
	"net/http"

	"github.com/go-chi/httprate"
)

// newHTTPRate leaves the response headers out, by the documented option: its
// decision comes with a response only.
func newHTTPRate(q quota, _ int) (limiter, error) {
	l := httprate.NewRateLimiter(int(q.events), q.period, httprate.WithResponseHeaders(httprate.ResponseHeaders{}))
	w := &recorder{header: http.Header{}} // never written to
	r := &http.Request{}
	return limiter{allow: func(key string) bool { return !l.OnLimit(w, r, key) }}, nil
}

// wrapHTTPRate is the only peer that can leave its response headers out.
func wrapHTTPRate(q quota, headers bool, next http.Handler) (http.Handler, error) {
	var options []httprate.Option
	if !headers {
		options = append(options, httprate.WithResponseHeaders(httprate.ResponseHeaders{}))
	}
	// The documented key, without the middleware of chi that puts the address into
	// the context of the request: that would be a further cost.
	byAddress := func(r *http.Request) (string, error) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		return httprate.CanonicalizeIP(host), err
	}
	return httprate.LimitBy(int(q.events), q.period, byAddress, options...)(next), nil
}
