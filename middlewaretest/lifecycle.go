package middlewaretest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func panicPasses(p *probe) {
	type private struct{ text string }
	value := &private{text: "a value of the handler's own"}
	p.panics(value)
}

// abortPasses panics with the one value that net/http does not log.
func abortPasses(p *probe) {
	p.panics(http.ErrAbortHandler)
	p.quiet()
}

// panics lets a handler panic before and after the response has begun, and looks
// at what reaches the outside of the middleware on both its sides.
func (p *probe) panics(value any) {
	for _, begun := range []bool{false, true} {
		reached := make(chan any, 1)
		guarded := p.apply(p.middleware, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if begun {
				write(w, "part")
				_ = http.NewResponseController(w).Flush()
			}
			panic(value)
		}))
		site := p.start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			returned := false
			defer func() {
				if returned {
					reached <- nil
					return
				}
				v := recover()
				reached <- v
				panic(v)
			}()
			guarded.ServeHTTP(w, r)
			returned = true
		}))
		a, err := site.try(site.request(http.MethodGet, nil))
		select {
		case got := <-reached:
			if got != value {
				p.report(fmt.Sprintf("the handler's own panic value, a %T, outside the middleware", value), "%s outside", kind(got))
			}
		case <-p.ctx.Done():
			p.report("the handler's own panic value outside the middleware", "neither a panic nor a return")
		}
		if err == nil && (begun || a.StatusCode < 500) {
			p.report("an aborted response after a panic", "a complete one with status %d", a.StatusCode)
		}
	}
}

// cancelReachesHandler lets the client leave while the handler works.
func cancelReachesHandler(p *probe) {
	working, told := newEvent(), newEvent()
	site := p.guard(func(_ http.ResponseWriter, r *http.Request) {
		working.set()
		select {
		case <-r.Context().Done():
			told.set()
		case <-p.ctx.Done():
		}
	})
	if a, err := site.try(site.abandoned(working)); err == nil {
		p.report("an error at a client that has left", "a response with status %d", a.StatusCode)
	}
	p.await(told, "the request's context to end when the client leaves", "a context that has not ended")
}

// kind describes a panic value.
func kind(v any) string {
	if v == nil {
		return "no panic"
	}
	return fmt.Sprintf("%T: %v", v, v)
}

// abandoned makes a request whose client leaves once it is worked on.
func (s *site) abandoned(working *event) *http.Request {
	req := s.request(http.MethodGet, nil)
	ctx, leave := context.WithCancel(req.Context())
	go func() {
		if s.await(working, "a request that is worked on", "no call of the handler") {
			leave()
		}
	}()
	s.onStop(leave)
	return req.WithContext(ctx)
}

// together is the number of requests that are in the handler at one time.
const together = 8

// concurrentRequests ends no request before all have reached the handler.
func concurrentRequests(p *probe) {
	var arrived atomic.Int64
	all := newEvent()
	site := p.guard(func(w http.ResponseWriter, r *http.Request) {
		if arrived.Add(1) == together {
			all.set()
		}
		if p.await(all, fmt.Sprintf("%d requests in the handler at one time", together), "fewer in the handler") {
			w.Header().Set("X-Echo", r.Header.Get("X-Number"))
			_, _ = io.Copy(w, r.Body)
		}
	})
	var wg sync.WaitGroup
	for i := range together {
		wg.Go(func() {
			number := strconv.Itoa(i)
			req := site.request(http.MethodPost, bytes.NewReader([]byte(number)))
			req.Header.Set("X-Number", number)
			a := site.exchange(req)
			p.expect(a, http.StatusOK, number)
			if a != nil && a.Header.Get("X-Echo") != number {
				p.report("the header of the request's own response", "the header for request %q in the response to request %q", a.Header.Get("X-Echo"), number)
			}
		})
	}
	wg.Wait()
}

// handlerGoroutines makes requests that end in different ways, stops everything,
// and looks for goroutines that the requests have left behind.
func handlerGoroutines(p *probe) {
	p.leavesNone(func() {
		plain := p.guard(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
		for range 3 {
			p.expect(plain.exchange(plain.request(http.MethodPost, bytes.NewReader([]byte("body")))), http.StatusOK, "body")
		}

		aborted := p.guard(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		_, _ = aborted.try(aborted.request(http.MethodGet, nil))

		working := newEvent()
		left := p.guard(func(_ http.ResponseWriter, r *http.Request) {
			working.set()
			select {
			case <-r.Context().Done():
			case <-p.ctx.Done():
			}
		})
		_, _ = left.try(left.abandoned(working))
		p.settle()
	})
}

// lateWrites has a handler that ignores its context and writes when the
// middleware must have given up on it: once the client has its answer, or long
// enough after the deadline.
func lateWrites(p *probe) {
	const late = "late bytes"
	answered, written := newEvent(), newEvent()
	site := p.guard(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Fast") != "" {
			write(w, "fast")
			return
		}
		defer written.set()
		defer func() {
			if v := recover(); v != nil {
				p.report("writes after the deadline dropped", "a panic in the handler that writes late: %v", v)
			}
		}()
		patience := time.NewTimer(p.timeout + lateness)
		defer patience.Stop()
		select {
		case <-answered.done():
		case <-patience.C:
		case <-p.ctx.Done():
		}
		w.Header().Set("X-Late", "x")
		w.WriteHeader(http.StatusAccepted)
		write(w, late)
		_ = http.NewResponseController(w).Flush()
	})
	a := site.get()
	answered.set()
	if a == nil || !p.await(written, "a handler whose writes after the deadline return", "a handler that has not ended") {
		return
	}
	if bytes.Contains(a.body, []byte(late)) || a.Header.Get("X-Late") != "" {
		p.report("writes after the deadline dropped", "a response with status %d, X-Late %q, body %q", a.StatusCode, a.Header.Get("X-Late"), a.body)
	}
	if a.StatusCode < 500 && a.StatusCode != http.StatusRequestTimeout {
		p.report("408 or a 5xx, such as 503 or 504, once the deadline is over", "status %d", a.StatusCode)
	}
	req := site.request(http.MethodGet, nil)
	req.Header.Set("X-Fast", "1")
	p.expect(site.exchange(req), http.StatusOK, "fast")
	p.quiet()
}
