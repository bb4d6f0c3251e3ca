package httpcache

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/uprung/uprung/internal/memnet"
)

// faces runs f in a bubble for each of the two faces of a cache: around the handler, and
// below a reverse proxy in front of it.
func faces(t *testing.T, o Options, f func(t *testing.T, s *site)) {
	t.Helper()
	t.Parallel()
	for _, face := range []string{"handler", "transport"} {
		t.Run(face, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, err := New(nil, &o)
				if err != nil {
					t.Fatal(err)
				}
				f(t, newSite(t, c, face))
			})
		})
	}
}

// site is an origin with a cache before it, and a client.
type site struct {
	t      *testing.T
	cache  *Cache
	client *http.Client
	face   string

	mu    sync.Mutex
	serve http.HandlerFunc
	calls []*http.Request // that reached the origin
}

const siteURL = "http://site.example"

func newSite(t *testing.T, c *Cache, face string) *site {
	t.Helper()
	s := &site{t: t, cache: c, face: face}
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls = append(s.calls, r.Clone(context.Background()))
		serve := s.serve
		s.mu.Unlock()
		serve(w, r)
	})
	var network memnet.Network
	listen := func(h http.Handler) string {
		l := network.Listen()
		server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
		go func() { _ = server.Serve(l) }() // ends with Close
		t.Cleanup(func() { _ = server.Close() })
		return l.Addr().String()
	}
	var addr string
	if face == "handler" {
		addr = listen(c.Middleware(origin))
	} else {
		backend := listen(origin)
		// Without keep-alive, since a request on a connection that was used before is sent
		// again when the origin hangs up.
		base := &http.Transport{DisableCompression: true, DisableKeepAlives: true, DialContext: network.DialContext}
		t.Cleanup(base.CloseIdleConnections)
		addr = listen(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", backend, r.In.Host
				r.Out.URL.RawQuery = r.In.URL.RawQuery // byte for byte
			},
			Transport: c.Transport(base),
			ErrorLog:  log.New(io.Discard, "", 0),
		})
	}
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true, DialContext: network.DialContext, Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: addr})}
	t.Cleanup(transport.CloseIdleConnections)
	s.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s
}

// answers makes the origin answer with a status, a body and fields in pairs.
func (s *site) answers(code int, body string, fields ...string) {
	s.handle(func(w http.ResponseWriter, _ *http.Request) {
		for at := 0; at < len(fields); at += 2 {
			w.Header().Add(fields[at], fields[at+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	})
}

func (s *site) handle(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve = h
}

// reached returns how many requests have reached the origin, and the last.
func (s *site) reached() (int, *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) == 0 {
		return 0, nil
	}
	return len(s.calls), s.calls[len(s.calls)-1]
}

// got is a response as a client has it.
type got struct {
	*http.Response
	text string
	err  error
}

// do sends a request.
func (s *site) do(method, path string, fields ...string) got {
	s.t.Helper()
	var body io.Reader
	if method == http.MethodPost || method == http.MethodPut {
		body = strings.NewReader("x")
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, siteURL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for at := 0; at < len(fields); at += 2 {
		r.Header.Add(fields[at], fields[at+1])
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return got{err: err}
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	synctest.Wait() // what is stored is stored
	return got{resp, string(text), err}
}

func (s *site) get(path string, fields ...string) got {
	s.t.Helper()
	return s.do(http.MethodGet, path, fields...)
}

// wants checks how many requests have reached the origin.
func (s *site) wants(calls int, what string) {
	s.t.Helper()
	if n, _ := s.reached(); n != calls {
		s.t.Errorf("%s: %d requests have reached the origin, want %d", what, n, calls)
	}
}

// fullModels reports whether tests are to be as long as they can be.
func fullModels() bool { return os.Getenv("UPRUNG_FULL_MODELS") == "1" }

// withTrace returns a context in which f gets interim responses.
func withTrace(ctx context.Context, f func(code int, h http.Header)) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		f(code, http.Header(h))
		return nil
	}})
}
