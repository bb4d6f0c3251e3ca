package middlewaretest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// oneStatus answers in all ways in which a handler may answer. The server logs
// each WriteHeader that is one too many.
func oneStatus(p *probe) {
	cases := []struct {
		handler http.HandlerFunc
		status  int
		body    string
	}{
		{func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated); write(w, "made") }, 201, "made"},
		{func(w http.ResponseWriter, _ *http.Request) { write(w, "plain") }, 200, "plain"},
		{func(http.ResponseWriter, *http.Request) {}, 200, ""},
		{func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, 204, ""},
		{func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sorry", http.StatusInternalServerError) }, 500, "sorry\n"},
		{func(w http.ResponseWriter, _ *http.Request) {
			write(w, "one")
			_ = http.NewResponseController(w).Flush()
			write(w, "two")
		}, 200, "onetwo"},
	}
	site := p.guard(func(w http.ResponseWriter, r *http.Request) {
		i, _ := strconv.Atoi(r.Header.Get("X-Case"))
		cases[i].handler(w, r)
	})
	for range 2 { // the connection stays in order
		for i, c := range cases {
			req := site.request(http.MethodGet, nil)
			req.Header.Set("X-Case", strconv.Itoa(i))
			p.expect(site.exchange(req), c.status, c.body)
		}
	}
	p.quiet()
}

func write(w io.Writer, text string) { _, _ = io.WriteString(w, text) }

func implicit200(p *probe) {
	p.expect(p.guard(func(w http.ResponseWriter, _ *http.Request) { write(w, "hello") }).get(), 200, "hello")
	p.expect(p.guard(func(http.ResponseWriter, *http.Request) {}).get(), 200, "")
}

// statusPasses sends one response of each kind that some middleware treats in a
// way of its own.
func statusPasses(p *probe) {
	site := p.guard(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.Header.Get("X-Status"))
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, err := io.WriteString(w, "body")
		if bodiless(status) != errors.Is(err, http.ErrBodyNotAllowed) {
			p.report(fmt.Sprintf("http.ErrBodyNotAllowed from Write after status %d to be %t", status, bodiless(status)), "error %v", err)
		}
	})
	for _, status := range []int{200, 201, 202, 204, 206, 301, 304, 400, 401, 403, 404, 418, 429, 500, 502, 503, 504, 599} {
		req := site.request(http.MethodGet, nil)
		req.Header.Set("X-Status", strconv.Itoa(status))
		want := "body"
		if bodiless(status) {
			want = ""
		}
		a := site.exchange(req)
		p.expect(a, status, want)
		if a != nil && a.Header.Get("Retry-After") != "7" {
			p.report(fmt.Sprintf("the handler's own Retry-After of 7 with status %d", status), "the Retry-After fields %q", a.Header.Values("Retry-After"))
		}
	}
}

// bodiless are the statuses, of those above, whose responses end after the
// header: RFC 9110 sections 15.3.5 and 15.4.5.
func bodiless(status int) bool { return status == 204 || status == 304 }

func headerPasses(p *probe) {
	site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["X-Middlewaretest"] = []string{"one", "two"}
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		h.Set("Content-Type", "text/x-middlewaretest")
		h.Set("X-Removed", "x")
		h.Del("X-Removed")
		w.WriteHeader(http.StatusAccepted)
		h.Set("X-Late", "x")
		write(w, "body")
	})
	a := site.get()
	if a == nil {
		return
	}
	if got, want := a.Header["X-Middlewaretest"], []string{"one", "two"}; !slices.Equal(got, want) {
		p.report(fmt.Sprintf("header values %q", want), "header values %q", got)
	}
	for _, cookie := range []string{"a=1", "b=2"} {
		if !slices.Contains(a.Header["Set-Cookie"], cookie) {
			p.report("both Set-Cookie fields of the handler", "the Set-Cookie fields %q", a.Header["Set-Cookie"])
		}
	}
	if got := a.Header.Get("Content-Type"); got != "text/x-middlewaretest" {
		p.report(`Content-Type "text/x-middlewaretest"`, "Content-Type %q", got)
	}
	if a.Header.Get("X-Removed") != "" {
		p.report("no header field that the handler has deleted", "the deleted field X-Removed")
	}
	if a.Header.Get("X-Late") != "" {
		p.report("the header as it was at WriteHeader", "the field X-Late, which was set later")
	}
}

// bodyPasses writes in pieces of growing size, with the length declared and
// without.
func bodyPasses(p *probe) {
	content := pattern(1<<17 + 7)
	for _, declared := range []bool{true, false} {
		site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
			if declared {
				w.Header().Set("Content-Length", strconv.Itoa(len(content)))
			}
			for rest, size := content, 1; len(rest) > 0; size *= 3 {
				piece := rest[:min(size, len(rest))]
				n, err := w.Write(piece)
				if n != len(piece) || err != nil {
					p.report(fmt.Sprintf("Write to take %d bytes", len(piece)), "%d bytes, error %v", n, err)
					return
				}
				rest = rest[n:]
			}
		})
		a := site.get()
		if a == nil {
			return
		}
		if declared && a.ContentLength != int64(len(content)) {
			p.report(fmt.Sprintf("Content-Length %d", len(content)), "Content-Length %d", a.ContentLength)
		}
		p.expectBytes(a.body, content)
	}
}

func headPasses(p *probe) {
	content := pattern(12345)
	site := p.guard(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			p.report("method HEAD at the handler", "method %s", r.Method)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content) // net/http takes and drops it
	})
	a := site.exchange(site.request(http.MethodHead, nil))
	if a == nil {
		return
	}
	p.expect(a, http.StatusOK, "")
	if a.ContentLength != int64(len(content)) {
		p.report(fmt.Sprintf("Content-Length %d in the answer to HEAD", len(content)), "the Content-Length fields %q", a.Header.Values("Content-Length"))
	}
}

func trailersPass(p *probe) {
	site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Declared")
		write(w, "body")
		w.Header().Set("X-Declared", "one")
		w.Header().Set(http.TrailerPrefix+"X-Undeclared", "two")
	})
	a := site.get()
	p.expect(a, http.StatusOK, "body")
	if a != nil {
		p.expectTrailers(a.Trailer)
	}
}

func (p *probe) expectTrailers(trailer http.Header) {
	if got := trailer.Get("X-Declared"); got != "one" {
		p.report(`the declared trailer X-Declared "one"`, "X-Declared %q", got)
	}
	if got := trailer.Get("X-Undeclared"); got != "two" {
		p.report(`the trailer X-Undeclared "two", set with TrailerPrefix`, "X-Undeclared %q", got)
	}
}

// informationalPasses waits in the handler until the client has the 103, and
// answers with a status that no implicit 200 can be mistaken for.
func informationalPasses(p *probe) {
	hinted := newEvent()
	site := p.guard(earlyHints(p, hinted))
	p.expect(site.exchange(site.hintable(hinted)), http.StatusCreated, "body")
}

func earlyHints(p *probe, hinted *event) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		if !p.await(hinted, "103 Early Hints at the client before the final response", "no 103 at the client") {
			return
		}
		w.WriteHeader(http.StatusCreated)
		write(w, "body")
	}
}

// hintable makes a request that notes the arrival of a 103.
func (s *site) hintable(hinted *event) *http.Request {
	req := s.request(http.MethodGet, nil)
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints {
				if got := header.Get("Link"); !strings.HasPrefix(got, "</style.css>") {
					s.report("the Link field in the 103", "Link %q", got)
				}
				hinted.set()
			}
			return nil
		},
	}))
}

// readerFrom looks for the interface by type assertion, as io.Copy does.
func readerFrom(p *probe) {
	content := pattern(1 << 17)
	site := p.guard(func(w http.ResponseWriter, _ *http.Request) {
		to, ok := w.(io.ReaderFrom)
		if !ok {
			p.hides(w, "io.ReaderFrom", "ReadFrom")
			return
		}
		n, err := to.ReadFrom(bytes.NewReader(content))
		if n != int64(len(content)) || err != nil {
			p.report(fmt.Sprintf("ReadFrom to take %d bytes", len(content)), "%d bytes, error %v", n, err)
		}
	})
	if a := site.get(); a != nil {
		p.expectBytes(a.body, content)
	}
}
