package httpcache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	greg "github.com/gregjones/httpcache"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/cache/httpcache"
)

const bodyLen = 4096

var text = bytes.Repeat([]byte("reverse proxies "), bodyLen/16)

// write is the handler that is cached.
func write(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("Cache-Control", "max-age=3600")
	h.Set("Content-Length", strconv.Itoa(bodyLen))
	h.Set("Etag", `"1"`)
	h.Set("Date", "Thu, 01 Jan 2026 00:00:00 GMT")
	_, _ = w.Write(text)
}

// hitter asks for the response once and returns the length of its body.
type hitter func() (int64, error)

// hits is the contest of what a hit costs in the process.
func hits() *bench.Contest[hitter] {
	impl := func(name string, open func(*http.Request) (hitter, error)) bench.Impl[hitter] {
		return bench.Impl[hitter]{Name: name, Open: func(*bench.Env) (hitter, error) {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://shop.example/items/42", nil)
			if err != nil {
				return nil, err
			}
			r.Header.Set("User-Agent", "load/1")
			r.Header.Set("Accept", "*/*")
			return open(r)
		}}
	}
	return &bench.Contest[hitter]{
		Impls: []bench.Impl[hitter]{
			impl(bench.Ours, func(r *http.Request) (hitter, error) {
				c, err := httpcache.New(nil, nil)
				if err != nil {
					return nil, err
				}
				return ofHandler(c.Middleware(http.HandlerFunc(dated)), r), nil
			}),
			impl(bench.Ours+"-transport", func(r *http.Request) (hitter, error) {
				c, err := httpcache.New(nil, nil)
				if err != nil {
					return nil, err
				}
				return ofTransport(c.Transport(origin{}), r), nil
			}),
			impl(bare, func(r *http.Request) (hitter, error) { return ofHandler(http.HandlerFunc(write), r), nil }),
			impl(gregjones, func(r *http.Request) (hitter, error) {
				t := greg.NewMemoryCacheTransport()
				t.Transport = origin{}
				return ofTransport(t, r), nil
			}),
		},
		Cases: []bench.Case[hitter]{{
			Name: hitCase, Procs: 1, Ratio: "cpu_ns",
			Begin: func(*bench.Env) func(hitter, *bench.Round) (bench.Figures, error) { return measureHits },
		}},
	}
}

// dated is write with a Date of now, without which the response would be old.
func dated(w http.ResponseWriter, r *http.Request) { write(undated{w}, r) }

type undated struct{ http.ResponseWriter }

func (u undated) Write(p []byte) (int, error) {
	u.Header().Del("Date")
	return u.ResponseWriter.Write(p)
}

// origin is a round tripper to that handler.
type origin struct{}

func (origin) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &discard{header: make(http.Header)}
	dated(w, r)
	w.header.Set("Date", now())
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Body: io.NopCloser(bytes.NewReader(text)), ContentLength: bodyLen, Request: r,
	}, nil
}

func measureHits(hit hitter, r *bench.Round) (bench.Figures, error) {
	for range 2 { // the first fills
		if n, err := hit(); err != nil || n != bodyLen {
			return nil, errors.Join(err, errors.New("the body is of "+strconv.FormatInt(n, 10)+" bytes"))
		}
	}
	return r.Loop(func(_, _, n int) int {
		for at := range n {
			if length, err := hit(); err != nil || length != bodyLen {
				return at
			}
		}
		return n
	})
}

func ofHandler(h http.Handler, r *http.Request) hitter {
	w := &discard{header: make(http.Header)}
	return func() (int64, error) {
		clear(w.header)
		w.n = 0
		h.ServeHTTP(w, r)
		return w.n, nil
	}
}

func ofTransport(rt http.RoundTripper, r *http.Request) hitter {
	return func() (int64, error) {
		resp, err := rt.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		n, err := io.Copy(io.Discard, resp.Body)
		return n, errors.Join(err, resp.Body.Close())
	}
}

// discard is a response writer of nothing.
type discard struct {
	header http.Header
	n      int64
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += int64(len(p))
	return len(p), nil
}
