package lb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/internal/option"
)

// ProxyOptions are the settings of a [Proxy]. The zero value of each field is its
// default.
type ProxyOptions struct {
	// Target is the URL of the service as its endpoints know it, such as
	// https://orders.internal/v1: requests are sent with its scheme, its host in the
	// Host header and in TLS, and its path before theirs. Nil means plain HTTP with the
	// Host and the path of the request that came in.
	Target *url.URL

	// PreserveHost sends the Host of the request that came in also where Target has
	// one, which remains the name in TLS.
	PreserveHost bool

	// Base is what requests are sent through, as for [Balancer.Transport]. Nil means
	// its default.
	Base http.RoundTripper

	// Wrap puts round trippers around the balancer, such as retries, for which each
	// attempt is another choice of an endpoint (package retry):
	//
	//	Wrap: retries.Transport
	//
	// Nil wraps nothing.
	Wrap func(balancer http.RoundTripper) http.RoundTripper

	// Affinity sends a client's requests to one endpoint. Nil means that it does not.
	Affinity *Affinity

	// TrustForwarded reports whether a request comes from a proxy whose Forwarded and
	// X-Forwarded fields are to be believed, and so continued. Nil means that none is:
	// they are replaced by what the connection shows.
	TrustForwarded func(*http.Request) bool

	// Rewrite changes what is sent, after all else was set. Nil changes nothing.
	Rewrite func(*httputil.ProxyRequest)

	// ModifyResponse changes what is answered, or refuses it by an error. Nil changes
	// nothing.
	ModifyResponse func(*http.Response) error

	// FlushInterval is how often what has come of a body is passed on, if it has a
	// length. Zero means whenever a buffer of 32 KiB is full or the body ends, negative
	// at once. Bodies of unknown length and server-sent events always are passed on at
	// once.
	FlushInterval time.Duration

	// FullDuplex begins to answer while the body of a request is still coming in, also
	// over HTTP/1.1, which some clients do not expect. HTTP/2 always does.
	FullDuplex bool

	// Refused answers a request that could not be served: err is a
	// [*uprung.Rejection] if there is no endpoint, or what the transport returned. The
	// status is for it to write. Nil means [Proxy.Refuse], which it can also call for
	// what it leaves as it is.
	Refused func(w http.ResponseWriter, r *http.Request, err error)
}

// Proxy is a handler that passes requests on to the endpoints of a balancer: a
// reverse proxy, on [httputil.ReverseProxy]. It streams in both directions, passes
// upgrades (WebSocket), trailers and informational responses, and sets Forwarded (RFC
// 7239) and X-Forwarded-For, -Host and -Proto.
//
// It is safe for concurrent use. Use [Balancer.Proxy].
type Proxy struct {
	balancer *Balancer
	o        ProxyOptions
	affinity *affinity
	proxy    httputil.ReverseProxy

	noEndpoint, limited, tooSlow, tooLarge, notProxied, notRead, notSent, bad *httpx.Problem
}

// Proxy returns a handler that passes requests on to the endpoints of b. Nil options
// are the defaults. The error names every field that is not valid.
func (b *Balancer) Proxy(o *ProxyOptions) (*Proxy, error) {
	p := &Proxy{balancer: b}
	if o != nil {
		p.o = *o
	}
	var errs []error
	if t := p.o.Target; t != nil {
		if t.Scheme != "http" && t.Scheme != "https" || t.Host == "" || t.User != nil {
			errs = append(errs, fmt.Errorf("lb: ProxyOptions.Target is %q, want http or https and a host", t.Redacted()))
		}
		target := *t
		p.o.Target = &target
	}
	if p.o.PreserveHost && p.o.Target == nil {
		errs = append(errs, errors.New("lb: ProxyOptions.PreserveHost is set, want also Target"))
	}
	if p.o.Affinity != nil {
		var err error
		p.affinity, err = newAffinity(*p.o.Affinity)
		errs = append(errs, err)
	}
	prepare := func(status int, detail string) *httpx.Problem {
		problem, err := httpx.NewProblem(status, &httpx.ProblemOptions{Detail: detail})
		errs = append(errs, err)
		return problem
	}
	p.noEndpoint = prepare(http.StatusServiceUnavailable, "There is no server for this request at the moment.")
	p.limited = prepare(http.StatusTooManyRequests, "")
	p.notProxied = prepare(http.StatusBadRequest, "Neither tunnels nor targets of this form are passed on.")
	p.tooSlow = prepare(http.StatusGatewayTimeout, "The server did not answer in time.")
	p.tooLarge = prepare(http.StatusRequestEntityTooLarge, "")
	p.notRead = prepare(http.StatusBadRequest, "The body of the request could not be read.")
	p.notSent = prepare(http.StatusRequestTimeout, "The body of the request did not come in time.")
	p.bad = prepare(http.StatusBadGateway, "The server did not answer.")
	transport := b.Transport(p.o.Base)
	if p.o.Wrap != nil {
		if transport = p.o.Wrap(transport); transport == nil {
			errs = append(errs, errors.New("lb: ProxyOptions.Wrap returns nil, want a round tripper"))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.proxy = httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      transport,
		FlushInterval:  p.o.FlushInterval,
		BufferPool:     &buffers{},
		ErrorHandler:   p.failed,
		ModifyResponse: p.modifyResponse(), //nolint:bodyclose // it makes no response
		// What it logs are answers that broke off, each of which is an outcome.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	return p, nil
}

// ServeHTTP passes a request on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect || r.URL.Opaque != "" {
		p.notProxied.Write(w, r, 0) // a tunnel, or a target that would be sent as it is
		return
	}
	if p.affinity != nil || p.o.Refused != nil {
		preference := &preference{in: r}
		if p.affinity != nil {
			if p.balancer.state.Load() == nil {
				_ = p.balancer.await(r.Context()) // an error comes up again
			}
			preference.id = p.affinity.preferred(r, p.balancer.state.Load())
		}
		r = r.WithContext(withPreference(r.Context(), preference))
	}
	if p.o.FullDuplex && r.ProtoMajor == 1 {
		_ = http.NewResponseController(w).EnableFullDuplex() // where it cannot be, it is not
	}
	p.proxy.ServeHTTP(w, r)
}

// CloseIdleConnections closes the connections to endpoints that are not in use.
func (p *Proxy) CloseIdleConnections() {
	if t, ok := p.proxy.Transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// UnwrapTransport returns the round tripper that requests are sent through: what Wrap
// returned, or the balancer. A chain that is read back ([uprung.Explain]) goes on there.
func (p *Proxy) UnwrapTransport() http.RoundTripper { return p.proxy.Transport }

// proxyKind is the kind of layer of a Proxy, below which is the balancer.
const proxyKind uprung.Kind = "proxy"

// Layer describes the proxy and its effective settings.
func (p *Proxy) Layer() uprung.Layer {
	target, affinity := "none", "none"
	if p.o.Target != nil {
		target = p.o.Target.Redacted()
	}
	if p.affinity != nil {
		affinity = "cookie " + p.affinity.o.Cookie
	}
	return uprung.Layer{Kind: proxyKind, Name: p.balancer.o.Name, Settings: []uprung.Setting{
		{Name: "Target", Value: target, Default: p.o.Target == nil},
		{Name: "Affinity", Value: affinity, Default: p.affinity == nil},
		{Name: "TrustForwarded", Value: option.Function(p.o.TrustForwarded != nil, "none"), Default: p.o.TrustForwarded == nil},
		{Name: "Refused", Value: option.Function(p.o.Refused != nil, "problem document"), Default: p.o.Refused == nil},
	}}
}

// rewrite makes the request that is sent of the one that came in. Connections are
// kept by the host of a URL: it must not be the client's to choose.
func (p *Proxy) rewrite(r *httputil.ProxyRequest) {
	r.Out.Trailer = r.In.Trailer // whose values come with the end of the body
	if t := p.o.Target; t != nil {
		r.SetURL(t)
		if p.o.PreserveHost {
			r.Out.Host = r.In.Host
		}
	} else {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", "backend.invalid"
		r.Out.Host = cmp.Or(r.In.Host, r.Out.URL.Host)
	}
	trusted := p.o.TrustForwarded != nil && p.o.TrustForwarded(r.In)
	setForwarded(r, trusted)
	if p.affinity != nil {
		p.affinity.withoutCookie(r.Out.Header)
	}
	if p.o.Rewrite != nil {
		p.o.Rewrite(r)
	}
}

// modifyResponse returns what is done with a response, or nil if that is nothing.
func (p *Proxy) modifyResponse() func(*http.Response) error {
	if p.affinity == nil {
		return p.o.ModifyResponse
	}
	return func(resp *http.Response) error {
		if q := preferenceOf(resp.Request.Context()); q != nil && q.chosen != q.id {
			p.affinity.set(resp.Header, p.balancer.state.Load(), q.chosen)
		}
		if p.o.ModifyResponse != nil {
			return p.o.ModifyResponse(resp)
		}
		return nil
	}
}

// failed answers a request that could not be served.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if p.o.Refused != nil {
		if q := preferenceOf(r.Context()); q != nil {
			r = q.in
		}
		p.o.Refused(w, r, err)
		return
	}
	p.Refuse(w, r, err)
}

// statusClientClosedRequest is what nginx logs for a client that has gone. Nobody is
// there to get it.
const statusClientClosedRequest = 499

// Refuse answers a request with the status and the problem document (RFC 9457) that
// are the default: 503 and Retry-After for a rejection, 429 for that of a rate limit,
// 504 where the answer did not come in time, and 502 for any other error of an endpoint.
// If it is the body of the request that could not be read, that is 413 where it is
// larger than an [http.MaxBytesReader] before it allows, 408 where it did not come in
// time, and 400 otherwise.
func (p *Proxy) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	rejection, rejected := errors.AsType[*uprung.Rejection](err)
	timeout, timed := errors.AsType[net.Error](err)
	timed = timed && timeout.Timeout()
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	_, unreadable := errors.AsType[*bodyError](err)
	switch {
	case rejected && rejection.Kind == uprung.KindRateLimit:
		p.limited.Write(w, r, max(rejection.RetryAfter, 0))
	case rejected:
		p.noEndpoint.Write(w, r, max(rejection.RetryAfter, 0))
	case tooLarge:
		p.tooLarge.Write(w, r, 0)
	case unreadable && timed: // which ends the context too
		p.notSent.Write(w, r, 0)
	case errors.Is(r.Context().Err(), context.Canceled):
		w.WriteHeader(statusClientClosedRequest)
	case unreadable:
		p.notRead.Write(w, r, 0)
	case timed, errors.Is(err, context.DeadlineExceeded):
		p.tooSlow.Write(w, r, 0)
	default:
		p.bad.Write(w, r, 0)
	}
}

// bufferSize is that of httputil.ReverseProxy without a pool.
const bufferSize = 32 << 10

// buffers is a pool of them.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buf[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(buf []byte) { b.pool.Put((*[bufferSize]byte)(buf)) }
