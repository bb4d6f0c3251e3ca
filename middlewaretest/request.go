package middlewaretest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"sync/atomic"
)

// requestPasses compares what the handler is given with what was sent.
func requestPasses(p *probe) {
	var path string // set before the request is sent
	site := p.guard(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			p.report("method PUT", "method %s", r.Method)
		}
		if got := r.URL.RequestURI(); got != path {
			p.report("the target "+path, "the target %s", got)
		}
		if got, want := r.Header.Values("X-Middlewaretest"), []string{"one", "two"}; !slices.Equal(got, want) {
			p.report(fmt.Sprintf("header values %q", want), "header values %q", got)
		}
		if r.Host != "example.test" {
			p.report(`Host "example.test"`, "Host %q", r.Host)
		}
		if address, err := netip.ParseAddrPort(r.RemoteAddr); err != nil || !address.Addr().IsLoopback() {
			p.report("the client's address in RemoteAddr", "RemoteAddr %q", r.RemoteAddr)
		}
		if (r.TLS != nil) != (p.protocol == http2) {
			p.report("Request.TLS set if and only if the connection has TLS", "TLS set: %t", r.TLS != nil)
		}
		if _, ok := r.Context().Value(http.ServerContextKey).(*http.Server); !ok {
			p.report("the server in the context (ServerContextKey)", "a context without it")
		}
		if _, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); !ok {
			p.report("the local address in the context (LocalAddrContextKey)", "a context without it")
		}
	})
	req := site.request(http.MethodPut, nil)
	req.Header["X-Middlewaretest"] = []string{"one", "two"}
	req.Host = "example.test"
	if req.URL.RawQuery != "" {
		req.URL.RawQuery += "&"
	}
	req.URL.RawQuery += "q=1&q=%2F2"
	path = req.URL.RequestURI()
	site.exchange(req)
}

// requestBody reads bodies of several kinds to their end, and beyond.
func requestBody(p *probe) {
	content := pattern(1 << 16)

	declared := p.guard(func(_ http.ResponseWriter, r *http.Request) {
		if r.ContentLength != int64(len(content)) {
			p.report(fmt.Sprintf("ContentLength %d", len(content)), "ContentLength %d", r.ContentLength)
		}
		got, err := io.ReadAll(r.Body)
		if err != nil {
			p.reportError("the whole request body", err)
		}
		p.expectBytes(got, content)
		if n, err := r.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			p.report("io.EOF at the end of the request body", "%d bytes, error %v", n, err)
		}
	})
	declared.exchange(declared.request(http.MethodPost, bytes.NewReader(content)))

	trailed := p.guard(func(_ http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil {
			p.reportError("the whole request body", err)
		}
		p.expectBytes(got, content)
		if got := r.Trailer.Get("X-Sum"); got != "42" {
			p.report(`the request trailer X-Sum "42"`, "X-Sum %q", got)
		}
	})
	req := trailed.request(http.MethodPost, nil)
	req.Trailer = http.Header{"X-Sum": nil}
	req.Body = io.NopCloser(io.MultiReader(bytes.NewReader(content), readerFunc(func([]byte) (int, error) {
		req.Trailer.Set("X-Sum", "42")
		return 0, io.EOF
	})))
	req.ContentLength = -1
	trailed.exchange(req)

	empty := p.guard(func(_ http.ResponseWriter, r *http.Request) {
		if r.Body == nil {
			p.report("a Request.Body that is never nil", "a nil Body")
			return
		}
		if n, err := r.Body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			p.report("io.EOF from the body of a GET", "%d bytes, error %v", n, err)
		}
	})
	empty.get()

	closed := p.guard(func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			return
		}
		if err := r.Body.Close(); err != nil {
			p.reportError("a request body that closes", err)
		}
		if n, err := r.Body.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			p.report("an error from reading a closed request body", "%d bytes, error %v", n, err)
		}
	})
	closed.exchange(closed.request(http.MethodPost, bytes.NewReader(content[:1000])))
	closed.get() // a body that nobody has read harms no later request
}

// expectContinue looks whether the client is asked for the body exactly if the
// handler wants it.
func expectContinue(p *probe) {
	p.neverAsks(p.guard(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))

	reads := p.guard(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			p.reportError("the request body", err)
		}
	})
	req, asked, _ := reads.expecting("content")
	p.expect(reads.exchange(req), http.StatusOK, "content")
	if !asked.Load() {
		p.report("100 Continue when the handler reads the body", "no 100 Continue")
	}
}

// neverAsks reports a server that asks for a body which its handler leaves
// unread. It returns the answer.
func (p *probe) neverAsks(s *site) *answer {
	req, asked, sent := s.expecting("content")
	a := s.exchange(req)
	if asked.Load() {
		p.report("no 100 Continue for a body that the handler does not read", "a 100 Continue")
	} else if sent.Load() {
		p.report("a client that keeps back a body which the handler does not read", "the body sent")
	}
	return a
}

// expecting makes a request that sends its body only when asked to.
func (s *site) expecting(content string) (req *http.Request, asked, sent *atomic.Bool) {
	asked, sent = new(atomic.Bool), new(atomic.Bool)
	source := bytes.NewReader([]byte(content))
	req = s.request(http.MethodPost, readerFunc(func(b []byte) (int, error) {
		sent.Store(true)
		return source.Read(b)
	}))
	req.ContentLength = int64(len(content))
	req.Header.Set("Expect", "100-continue")
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got100Continue: func() { asked.Store(true) },
	})), asked, sent
}

// readerFunc is a func that reads.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
