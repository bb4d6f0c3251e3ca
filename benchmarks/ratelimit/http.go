package ratelimit

import (
	"fmt"
	"net/http"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// wrapper puts a limiter by client address in front of a handler. headers says
// whether responses are to tell clients where they stand, if there is a choice.
type wrapper func(q quota, headers bool, next http.Handler) (http.Handler, error)

var wrappers = []struct {
	name string
	wrap wrapper
}{
	{"uprung", wrapUprung},
	{"sethvargo", wrapSethvargo},
	{"throttled", wrapThrottled},
	{"ulule", wrapUlule},
	{"httprate", wrapHTTPRate},
	{"tollbooth", wrapTollbooth},
	{bare, func(_ quota, _ bool, next http.Handler) (http.Handler, error) { return next, nil }},
}

// bare is the handler without any limiter.
const bare = "bare handler"

// clients is the number of client addresses, a power of two.
const clients = 1024

// httpContest is a contest in what a limiter adds to an allowed request.
func httpContest(name string, headers bool) *bench.Contest[http.Handler] {
	requests := newRequests()
	impls := make([]bench.Impl[http.Handler], 0, len(wrappers))
	for _, w := range wrappers {
		impls = append(impls, bench.Impl[http.Handler]{Name: w.name, Open: func(*bench.Env) (http.Handler, error) {
			h, err := w.wrap(plenty, headers, http.HandlerFunc(served))
			if err != nil {
				return nil, err
			}
			if met := serve(h, newRecorder(), requests, 0, clients); met != clients {
				return nil, fmt.Errorf("%d of the first %d requests are denied", clients-met, clients)
			}
			return h, nil
		}})
	}
	return &bench.Contest[http.Handler]{Impls: impls, Cases: []bench.Case[http.Handler]{{
		Name:      name,
		Ratio:     "cpu_ns",
		Reference: bare,
		Begin: func(*bench.Env) func(http.Handler, *bench.Round) (bench.Figures, error) {
			w := newRecorder()
			return func(h http.Handler, r *bench.Round) (bench.Figures, error) {
				return r.Loop(func(_, from, n int) int { return serve(h, w, requests, from, n) })
			}
		},
	}}}
}

// newRequests returns one request from each client.
func newRequests() []*http.Request {
	requests := make([]*http.Request, clients)
	for i := range requests {
		r, err := http.NewRequest(http.MethodGet, "http://example.com/items", nil)
		if err != nil {
			panic(err) // the arguments are constants
		}
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:40000", i/256, i%256)
		requests[i] = r
	}
	return requests
}

// serve has a handler serve n requests of the clients in turn and returns how
// many of them reached the handler below the limiter.
func serve(h http.Handler, w *recorder, requests []*http.Request, from, n int) (met int) {
	for i := from; i < from+n; i++ {
		clear(w.header)
		w.status = 0
		h.ServeHTTP(w, requests[i&(clients-1)])
		if w.status == http.StatusNoContent {
			met++
		}
	}
	return met
}

// served is the handler below the limiters.
func served(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// recorder is a ResponseWriter that keeps the header and the status and does
// nothing else.
type recorder struct {
	header http.Header
	status int
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }
