package lb

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
)

// Transport sends each request through base to one of the endpoints. The URL of a
// request names the service, not an endpoint: its host goes into the Host header and
// is the name that TLS verifies, unless the endpoint has a Host of its own.
//
// If base is an [*http.Transport], it is cloned for each endpoint, with all of its
// settings but Proxy, and the clone connects to the address of the endpoint: there is
// one pool of connections for each. HTTP/2 is set up by its own fields (HTTP2, Protocols),
// and not by golang.org/x/net/http2, whose settings are lost. Other round trippers get a request whose
// URL.Host is the endpoint's address and whose Host field is the name; by which name
// they verify TLS is their affair. A nil base is an http.Transport with timeouts of 2
// seconds for connecting and 5 for TLS, and up to 256 idle connections for each
// endpoint.
//
// A request for which there is no endpoint is refused with a [*uprung.Rejection] that
// matches [ErrNoEndpoint]; its body is closed then. Errors of base are returned as
// they are, with that of the request's body if there is one. An endpoint's part in a
// request ends when the body of its response has been read or closed, or the request's
// context ends. Its response time, and the age of a request that it has not answered,
// begin when the request's body has been read to its end: what sends that slowly, or an
// endpoint that takes it in slowly, changes no score.
//
// Call it once for each base, not for each request.
func (b *Balancer) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = &http.Transport{
			DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   256,
			IdleConnTimeout:       90 * time.Second,
			TLSHandshakeTimeout:   5 * time.Second,
			ExpectContinueTimeout: time.Second,
		}
	}
	t := &transport{balancer: b, base: base, below: base}
	t.cloned, _ = base.(*http.Transport)
	if b.o.Endpoint != nil {
		t.below = b.o.Endpoint("", base)
	}
	return t
}

type transport struct {
	balancer *Balancer
	base     http.RoundTripper
	below    http.RoundTripper // what is between, and base: for those who look at the chain
	cloned   *http.Transport   // base, if it is to be cloned

	mu    sync.Mutex // held to replace pools
	pools atomic.Pointer[pools]
}

// pools are the clones of base for the endpoints of a snapshot.
type pools struct {
	of    *snapshot
	nodes map[*known]*conns
}

// conns are the way to an endpoint.
type conns struct {
	pool *http.Transport   // a clone of base; nil if base is none that can be cloned
	next http.RoundTripper // what requests go through: the pool or base, and Options.Endpoint
	gone atomic.Bool       // the endpoint
}

// lingers is how long the last stream of a connection may take at most until it is over
// for net/http too, after its reader has seen the end.
const lingers = time.Second

// leave closes the connections to an endpoint that is gone: those without a request at
// once, and the others when these are over.
func (c *conns) leave() {
	c.gone.Store(true)
	c.released()
}

// released says that a request is over. For HTTP/1 it would be enough to close idle
// connections once. One of HTTP/2 that has a stream then stays.
func (c *conns) released() {
	if c.pool != nil && c.gone.Load() {
		c.pool.CloseIdleConnections()
		time.AfterFunc(lingers, c.pool.CloseIdleConnections)
	}
}

// Unwrap returns the round tripper below.
func (t *transport) Unwrap() http.RoundTripper { return t.below }

// Layer describes the balancer.
func (t *transport) Layer() uprung.Layer { return t.balancer.Layer() }

// CloseIdleConnections closes those of all endpoints, for
// [http.Client.CloseIdleConnections].
func (t *transport) CloseIdleConnections() {
	if base, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
	if p := t.pools.Load(); p != nil {
		for _, c := range p.nodes {
			if c.pool != nil {
				c.pool.CloseIdleConnections()
			}
		}
	}
}

// RoundTrip sends a request to an endpoint.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	e := &exchange{b: t.balancer, request: r}
	preference := preferenceOf(r.Context())
	if err := e.choose(preference); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // RoundTrip must close it, and the error that matters is err
		}
		return nil, err
	}
	returned := false
	defer func() {
		if !returned { // a panic, which goes on
			e.sent()
			e.end(e.b.now(), uprung.Failure)
		}
	}()
	resp, err := t.send(e)
	if err == nil && resp == nil {
		err = errNoResponse
	}
	returned = true
	if err != nil {
		return nil, e.failed(err)
	}
	resp.Request = r // and not a copy, by which a redirect would be resolved
	e.answered(resp)
	return resp, nil
}

var errNoResponse = errors.New("lb: the base returned neither a response nor an error")

// send sends the request of an exchange to the endpoint that was chosen.
func (t *transport) send(e *exchange) (*http.Response, error) {
	r := e.request
	if r.Body != nil && r.Body != http.NoBody {
		r = e.upload(r)
	}
	name := e.node.Host
	next := t.base
	if t.cloned != nil || t.balancer.o.Endpoint != nil {
		e.conns = t.conns(e.node)
		next = e.conns.next
	}
	if t.cloned == nil {
		out := r.Clone(r.Context())
		if out.Host == "" {
			out.Host = r.URL.Host
		}
		if name != "" {
			out.Host = name
		}
		out.URL.Host = e.node.Addr
		return next.RoundTrip(out)
	}
	if name != "" {
		out := r.Clone(r.Context())
		out.URL.Host, out.Host = name, ""
		r = out
	}
	return next.RoundTrip(r)
}

// conns returns the connections to an endpoint.
func (t *transport) conns(n *node) *conns {
	p := t.pools.Load()
	if p == nil || p.of != t.balancer.state.Load() {
		p = t.renew()
	}
	if clone := p.nodes[n.known]; clone != nil {
		return clone
	}
	// The endpoint was chosen, and is gone: this request is the last.
	c := t.connect(n)
	if c.pool != nil {
		c.pool.DisableKeepAlives = true
	}
	return c
}

// connect makes the way to an endpoint.
func (t *transport) connect(n *node) *conns {
	c := &conns{next: t.base}
	if t.cloned != nil {
		c.pool = t.clone(n)
		c.next = c.pool
	}
	if wrap := t.balancer.o.Endpoint; wrap != nil {
		c.next = wrap(n.ID, c.next)
	}
	return c
}

// renew makes the pools for the endpoints of now, and closes those of the ones that
// are gone, as soon as the requests in progress are over.
func (t *transport) renew() *pools {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, s := t.pools.Load(), t.balancer.state.Load()
	if before != nil && before.of == s {
		return before
	}
	p := &pools{of: s, nodes: make(map[*known]*conns, len(s.nodes))}
	for _, n := range s.nodes {
		if before != nil {
			p.nodes[n.known] = before.nodes[n.known]
		}
		if p.nodes[n.known] == nil {
			p.nodes[n.known] = t.connect(n)
		}
	}
	t.pools.Store(p)
	if before != nil {
		for n, clone := range before.nodes {
			if p.nodes[n] == nil {
				clone.leave()
			}
		}
	}
	return p
}

// clone returns a transport with the settings of base that connects to an endpoint.
func (t *transport) clone(n *node) *http.Transport {
	clone := t.cloned.Clone()
	clone.Proxy = nil
	if clone.TLSNextProto["h2"] != nil {
		// Set up by golang.org/x/net/http2, it would put the connections of all endpoints
		// into one pool, where the first one serves them all.
		clone.TLSNextProto, clone.ForceAttemptHTTP2 = nil, true
	}
	type dial = func(ctx context.Context, network, addr string) (net.Conn, error)
	to := func(d dial) dial {
		return func(ctx context.Context, network, _ string) (net.Conn, error) { return d(ctx, network, n.Addr) }
	}
	switch {
	case clone.DialContext != nil:
		clone.DialContext = to(clone.DialContext)
	case clone.Dial != nil: //nolint:staticcheck // deprecated, and still honoured by net/http
		plain := clone.Dial //nolint:staticcheck // as above
		clone.DialContext = to(func(_ context.Context, network, addr string) (net.Conn, error) { return plain(network, addr) })
	default:
		clone.DialContext = to(new(net.Dialer).DialContext)
	}
	clone.Dial = nil //nolint:staticcheck // as above
	switch {
	case clone.DialTLSContext != nil:
		clone.DialTLSContext = to(clone.DialTLSContext)
	case clone.DialTLS != nil: //nolint:staticcheck // as above
		plain := clone.DialTLS //nolint:staticcheck // as above
		clone.DialTLSContext = to(func(_ context.Context, network, addr string) (net.Conn, error) { return plain(network, addr) })
	}
	clone.DialTLS = nil //nolint:staticcheck // as above
	return clone
}
