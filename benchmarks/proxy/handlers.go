package proxy

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vulcand/oxy/v2/forward"
	"github.com/vulcand/oxy/v2/roundrobin"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/lb"
)

// Handler is a proxy written in Go.
type Handler struct {
	Name string
	Make func(backends []string) (http.Handler, error)
}

var handlers = []Handler{
	{bench.Ours, newUprung},
	{"reverseproxy", func(backends []string) (http.Handler, error) { return newReverseProxy(backends, nil, nil), nil }},
	{"reverseproxy-pool", func(backends []string) (http.Handler, error) {
		return newReverseProxy(backends, Pooling(), &buffers{}), nil
	}},
	{"oxy", newOxy},
}

// Pooling returns a transport that keeps as many connections as there ever are.
func Pooling() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   512,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

func newUprung(backends []string) (http.Handler, error) {
	b, err := lb.New(lb.Addrs(backends...), nil)
	if err != nil {
		return nil, err
	}
	return b.Proxy(&lb.ProxyOptions{Base: Pooling()})
}

// newReverseProxy takes backends in turn. A nil transport is [http.DefaultTransport].
func newReverseProxy(backends []string, transport http.RoundTripper, pool httputil.BufferPool) http.Handler {
	var next atomic.Uint64
	targets := urls(backends)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(targets[next.Add(1)%uint64(len(targets))])
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport:  transport,
		BufferPool: pool,
	}
}

func newOxy(backends []string) (http.Handler, error) {
	next := forward.New(true)
	next.Transport = Pooling()
	proxy, err := roundrobin.New(next)
	if err != nil {
		return nil, err
	}
	for _, backend := range urls(backends) {
		if err := proxy.UpsertServer(backend); err != nil {
			return nil, err
		}
	}
	return proxy, nil
}

func urls(addrs []string) []*url.URL {
	all := make([]*url.URL, len(addrs))
	for i, addr := range addrs {
		all[i] = &url.URL{Scheme: "http", Host: addr}
	}
	return all
}

// buffers is a pool of those that a proxy copies with.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buf, ok := b.pool.Get().(*[32 << 10]byte); ok {
		return buf[:]
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buf []byte) { b.pool.Put((*[32 << 10]byte)(buf)) }
