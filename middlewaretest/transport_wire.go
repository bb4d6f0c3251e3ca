package middlewaretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// The checks in this file put the wrapper between a real transport and a real
// server.

// serve starts a server without a middleware and returns it with the wrapper
// under test round its transport. What is passed on is counted at the server, so
// that the wrapper is given the *http.Transport itself.
func (p *probe) serve(handler http.HandlerFunc) (*site, http.RoundTripper) {
	site := p.start(p.counted(handler))
	return site, p.around(p.wrap, site.transport)
}

// sentRequest compares what arrives at the server with what was sent.
func sentRequest(p *probe) {
	content := pattern(1 << 16)
	var path string // set before the request is sent
	site, rt := p.serve(func(_ http.ResponseWriter, r *http.Request) {
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
		if r.ContentLength != int64(len(content)) {
			p.report(fmt.Sprintf("Content-Length %d", len(content)), "Content-Length %d", r.ContentLength)
		}
		got, err := io.ReadAll(r.Body)
		if err != nil {
			p.reportError("the whole request body", err)
		}
		p.expectBytes(got, content)
	})
	req := site.request(http.MethodPut, bytes.NewReader(content))
	req.Header["X-Middlewaretest"] = []string{"one", "two"}
	req.Host = "example.test"
	if req.URL.RawQuery != "" {
		req.URL.RawQuery += "&"
	}
	req.URL.RawQuery += "q=1&q=%2F2"
	path = req.URL.RequestURI()
	p.through(rt, req)
}

func responsePasses(p *probe) {
	content := pattern(1<<14 + 7)
	site, rt := p.serve(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.Header.Get("X-Status"))
		h := w.Header()
		h["X-Middlewaretest"] = []string{"one", "two"}
		h.Set("Retry-After", "7")
		if !bodiless(status) {
			h.Set("Content-Length", strconv.Itoa(len(content)))
		}
		w.WriteHeader(status)
		_, _ = w.Write(content)
	})
	for _, status := range []int{200, 201, 204, 206, 301, 304, 400, 401, 404, 418, 429, 500, 502, 503, 504, 599} {
		req := site.request(http.MethodGet, nil)
		req.Header.Set("X-Status", strconv.Itoa(status))
		a := p.through(rt, req)
		if a == nil {
			return
		}
		if a.StatusCode != status {
			p.report(fmt.Sprintf("status %d", status), "status %d", a.StatusCode)
		}
		if got, want := a.Header["X-Middlewaretest"], []string{"one", "two"}; !slices.Equal(got, want) {
			p.report(fmt.Sprintf("header values %q", want), "header values %q", got)
		}
		if got := a.Header.Get("Retry-After"); got != "7" {
			p.report(fmt.Sprintf("the server's Retry-After of 7 with status %d", status), "Retry-After %q", got)
		}
		if a.Request == nil {
			p.report("Response.Request, which http.Client reads", "a nil Request in the response")
		}
		if bodiless(status) {
			p.expectBytes(a.body, nil)
			continue
		}
		if a.ContentLength != int64(len(content)) {
			p.report(fmt.Sprintf("ContentLength %d", len(content)), "ContentLength %d", a.ContentLength)
		}
		p.expectBytes(a.body, content)
	}
}

func headResponse(p *probe) {
	site, rt := p.serve(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodHead {
			p.report("method HEAD at the server", "method %s", r.Method)
		}
		w.Header().Set("Content-Length", "12345")
	})
	a := p.through(rt, site.request(http.MethodHead, nil))
	p.expect(a, http.StatusOK, "")
	if a != nil && a.ContentLength != 12345 {
		p.report("ContentLength 12345 in the answer to HEAD", "ContentLength %d", a.ContentLength)
	}
}

func responseTrailers(p *probe) {
	site, rt := p.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Declared")
		write(w, "body")
		w.Header().Set("X-Declared", "one")
		w.Header().Set(http.TrailerPrefix+"X-Undeclared", "two")
	})
	res := p.openThrough(rt, site.request(http.MethodGet, nil))
	if res == nil {
		return
	}
	if _, ok := res.Trailer["X-Declared"]; !ok {
		p.report("the name of a declared trailer before the body is read", "Trailer %v", res.Trailer)
	}
	a, err := readAnswer(res)
	if err != nil {
		p.reportError("a complete response", err)
		return
	}
	p.expect(a, http.StatusOK, "body")
	p.expectTrailers(a.Trailer)
}

func informationalResponse(p *probe) {
	hinted := newEvent()
	site, rt := p.serve(earlyHints(p, hinted))
	p.expect(p.through(rt, site.hintable(hinted)), http.StatusCreated, "body")
}

// responseStreams has the server wait, after the header and after each part of
// the body, until the client has it.
func responseStreams(p *probe) {
	parts := []string{"", "one", "two"}
	seen := []*event{newEvent(), newEvent(), newEvent()}
	site, rt := p.serve(func(w http.ResponseWriter, _ *http.Request) {
		for i, part := range parts {
			write(w, part)
			_ = http.NewResponseController(w).Flush()
			if !p.await(seen[i], fmt.Sprintf("part %d of the response at the client before the server sends more", i), fmt.Sprintf("part %d not at the client", i)) {
				return
			}
		}
	})
	res := p.openThrough(rt, site.request(http.MethodGet, nil))
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	for i, part := range parts {
		if !p.readText(res.Body, part) {
			return
		}
		seen[i].set()
	}
	if rest, err := io.ReadAll(res.Body); len(rest) != 0 || err != nil {
		p.report("the end of the body after the last part", "the bytes %q, error %v", rest, err)
	}
}

func requestStreams(p *probe) {
	content := pattern(1 << 17)
	seen := newEvent()
	site, rt := p.serve(receive(p, content, seen))
	p.expect(p.through(rt, site.sending(content, seen)), http.StatusOK, "received")
}

func upgradePasses(p *probe) {
	site, rt := p.serve(upgrade(p))
	if res := p.openThrough(rt, site.upgrading()); res != nil { //nolint:bodyclose // converse closes it
		p.converse(res)
	}
}

// cancelReachesServer cancels before the header and in the body.
func cancelReachesServer(p *probe) {
	for _, begun := range []bool{false, true} {
		working, told := newEvent(), newEvent()
		site, rt := p.serve(func(w http.ResponseWriter, r *http.Request) {
			if begun {
				write(w, "start")
				_ = http.NewResponseController(w).Flush()
			} else {
				working.set()
			}
			select {
			case <-r.Context().Done():
				told.set()
			case <-p.ctx.Done():
			}
		})
		res, err := p.roundTrip(rt, site.abandoned(working))
		if begun && err == nil && res != nil {
			p.readText(res.Body, "start")
			working.set()
			_, err = io.Copy(io.Discard, res.Body)
		}
		if res != nil && res.Body != nil {
			_ = res.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			p.report("an error that is context.Canceled", "error: %v", err)
		}
		p.await(told, "the server to learn that the client has cancelled", "a request context at the server that has not ended")
	}
}

func concurrentTrips(p *probe) {
	var arrived atomic.Int64
	all := newEvent()
	site, rt := p.serve(func(w http.ResponseWriter, r *http.Request) {
		if arrived.Add(1) == together {
			all.set()
		}
		if p.await(all, fmt.Sprintf("%d requests at the server at one time", together), "fewer at the server") {
			_, _ = io.Copy(w, r.Body)
		}
	})
	var wg sync.WaitGroup
	for i := range together {
		wg.Go(func() {
			number := strconv.Itoa(i)
			p.expect(p.through(rt, site.request(http.MethodPost, bytes.NewReader([]byte(number)))), http.StatusOK, number)
		})
	}
	wg.Wait()
}

// transportGoroutines makes requests that end in different ways, closes
// everything, and looks for goroutines that the requests have left behind.
func transportGoroutines(p *probe) {
	p.leavesNone(func() {
		plain, rt := p.serve(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		for range 3 {
			p.expect(p.through(rt, plain.request(http.MethodPost, bytes.NewReader([]byte("body")))), http.StatusOK, "body")
		}

		large, rt := p.serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(pattern(1 << 19)) })
		if res := p.openThrough(rt, large.request(http.MethodGet, nil)); res != nil {
			_, _ = io.CopyN(io.Discard, res.Body, 1000)
			_ = res.Body.Close() // the caller has had enough
		}
		p.settle()

		failing := p.wrapped(baseFunc(failingBase))
		if res, err := p.roundTrip(failing, large.request(http.MethodGet, nil)); err == nil && res != nil {
			_ = res.Body.Close()
		}
	})
}
