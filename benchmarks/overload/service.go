package overload

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// The service has workers that take mean for a request, exponentially distributed: it
	// can do capacity requests per second.
	workers  = 10
	mean     = 100 * time.Millisecond
	capacity = float64(workers) * float64(time.Second) / float64(mean)

	// queued is how many requests may wait for a worker, which is 5 s of work.
	queued = 500

	// refusing is what it takes of a worker's time to refuse a request.
	refusing = 5 * time.Millisecond
)

// outage is what happens to the service for a while.
type outage uint8

const (
	never outage = iota
	fails        // requests are answered 500, and at once
	hangs        // workers stand still
)

// span is a time from the beginning of a run.
type span struct{ from, to time.Duration }

// within reports whether an instant is in it.
func (s span) within(at time.Duration) bool { return at >= s.from && at < s.to }

// service is a handler of limited capacity. Its queue is first in, first out, and its
// workers do all the work that is in it, whether or not somebody still waits for that:
// they do not look at whether the client has left. What they do look at is a deadline,
// if somebody has put one into the context of the request.
type service struct {
	begun   time.Time
	outage  outage
	outages span
	queue   chan *job
	debt    atomic.Int64 // the time that refusals have taken, in nanoseconds, until a worker has had it
}

// job is a request in the queue.
type job struct {
	needs    time.Duration
	deadline time.Time // zero if it has none
	status   chan int
}

// needsKey is the key under which the context of a request says how long it takes.
type needsKey struct{}

// start starts the workers, which end with a context.
func (s *service) start(ctx context.Context) {
	s.begun = time.Now()
	s.queue = make(chan *job, queued)
	for range workers {
		go func() {
			for {
				select {
				case j := <-s.queue:
					j.status <- s.work(j)
				case <-ctx.Done():
					return
				}
			}
		}()
	}
}

// work does a job, and returns the status of the answer.
func (s *service) work(j *job) int {
	now := time.Since(s.begun)
	broken := s.outages.within(now)
	switch {
	case !j.deadline.IsZero() && !time.Now().Before(j.deadline):
		return http.StatusGatewayTimeout
	case s.outage == fails && broken:
		return http.StatusInternalServerError
	}
	takes := j.needs + time.Duration(s.debt.Swap(0))
	if s.outage == hangs {
		switch out := s.outages; {
		case broken:
			takes += out.to - now
		case now < out.from && now+takes > out.from:
			takes += out.to - out.from
		}
	}
	time.Sleep(takes)
	return http.StatusOK
}

// ServeHTTP queues a request and answers when it is done.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j := &job{status: make(chan int, 1)}
	j.needs, _ = r.Context().Value(needsKey{}).(time.Duration)
	j.deadline, _ = r.Context().Deadline()
	select {
	case s.queue <- j:
		w.WriteHeader(<-j.status)
	default:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// refused notes a request that was answered without a worker, which takes some of one's
// time all the same, unless they have nothing to do anyway.
func (s *service) refused() {
	if s.outage != hangs || !s.outages.within(time.Since(s.begun)) {
		s.debt.Add(int64(refusing))
	}
}

// call is one request of a client, in the context of all its attempts.
type call struct {
	number   uint64
	attempts atomic.Uint64
}

// callKey is the key of a call in a context.
type callKey struct{}

// callOf returns the call that a request is an attempt of.
func callOf(r *http.Request) *call {
	c, _ := r.Context().Value(callKey{}).(*call)
	return c
}

// wire is between clients and the service. As with HTTP, nothing crosses it but the
// request and its end: of the context of the client the server learns only that it has
// left.
type wire struct {
	ctx      context.Context //nolint:containedctx // of all the service does
	seed     uint64
	service  *service
	handler  http.Handler
	attempts atomic.Int64
	serving  sync.WaitGroup
}

// RoundTrip has the service answer a request.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.attempts.Add(1)
	c := callOf(r)
	ctx, cancel := context.WithCancel(context.WithValue(w.ctx, needsKey{}, needs(w.seed, c.number, c.attempts.Add(1))))
	in := r.Clone(ctx)
	in.Body = http.NoBody
	answer := httptest.NewRecorder()
	done := make(chan bool, 1)
	w.serving.Go(func() {
		defer cancel()
		answered := false
		defer func() {
			if !answered {
				_ = recover() // that of http.ErrAbortHandler, which ends a connection
			}
			done <- answered
		}()
		w.handler.ServeHTTP(answer, in)
		switch answer.Code {
		case http.StatusServiceUnavailable, http.StatusTooManyRequests:
			w.service.refused()
		}
		answered = true
	})
	select {
	case answered := <-done:
		if !answered {
			return nil, errCut
		}
		resp := answer.Result()
		resp.Request = r
		return resp, nil
	case <-r.Context().Done():
		cancel()
		return nil, context.Cause(r.Context())
	}
}

// needs returns how long a worker takes for an attempt: it is the same for all guards.
func needs(seed, number, attempt uint64) time.Duration {
	return time.Duration(rand.New(rand.NewPCG(seed, number<<8|attempt)).ExpFloat64() * float64(mean))
}

var errCut = errors.New("the connection was cut")
