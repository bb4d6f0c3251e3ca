package client

import (
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/internal/memnet"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/retry"
)

// busy is a service of few workers, which do the work of requests also when nobody waits
// for it any more, and to whom each refusal is some work as well. It has the limit that
// a server should have.
type busy struct {
	begun    time.Time
	workers  chan struct{}
	hangs    [2]time.Duration // from, to; zeros if it does not
	attempts atomic.Int64
	jobs     atomic.Uint64
	debt     atomic.Int64
}

const (
	busyWorkers  = 5
	busyMean     = 100 * time.Millisecond // exponentially distributed
	busyCapacity = busyWorkers * int(time.Second/busyMean)
	busyRefusal  = 5 * time.Millisecond
	busyLimit    = 3 * busyWorkers // in progress
)

func (b *busy) ServeHTTP(http.ResponseWriter, *http.Request) {
	b.workers <- struct{}{}
	defer func() { <-b.workers }()
	random := rand.New(rand.NewPCG(1, b.jobs.Add(1)))
	takes := time.Duration(random.ExpFloat64()*float64(busyMean)) + time.Duration(b.debt.Swap(0))
	if now := time.Since(b.begun); now+takes > b.hangs[0] && now < b.hangs[1] {
		takes += b.hangs[1] - max(now, b.hangs[0])
	}
	time.Sleep(takes)
}

// counted counts what comes to a service, and what it refuses.
func (b *busy) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.attempts.Add(1)
		s := &statusWriter{ResponseWriter: w}
		next.ServeHTTP(s, r)
		if s.status == http.StatusServiceUnavailable {
			b.debt.Add(int64(busyRefusal))
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// answered is what became of the requests that came in one second.
type answered struct{ came, served int }

// ask has five clients ask a service, so often a second in all, for so many seconds.
func (b *busy) ask(t *testing.T, perSecond, seconds int) []answered {
	t.Helper()
	const clients = 5
	var net memnet.Network
	l := net.Listen()
	limit := uprung.Must(ratelimit.NewConcurrency(ratelimit.AtMost(busyLimit), nil))
	in := uprung.Must(deadline.New(3*time.Second, &deadline.Options{Trust: func(*http.Request) bool { return true }}))
	server := &http.Server{Handler: b.counted(in.Middleware(limit.Middleware(b)))}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // ends with Close
	}()
	b.begun, b.workers = time.Now(), make(chan struct{}, busyWorkers)

	var through [clients]*http.Client
	for i := range through {
		seed := uint64(i + 1)
		transport := uprung.Must(NewTransport(lb.Addrs(l.Addr().String()), &Options{
			Base:     &http.Transport{DialContext: net.DialContext, MaxIdleConnsPerHost: 100},
			Deadline: 3 * time.Second, AttemptTimeout: time.Second,
			Retry: &retry.Options{Seed: seed}, LB: &lb.Options{Seed: seed}, Breaker: &breaker.Options{Seed: seed}, Throttle: &breaker.ThrottleOptions{Seed: seed},
		}))
		through[i] = &http.Client{Transport: transport}
		defer through[i].CloseIdleConnections()
	}
	record := make([]answered, seconds)
	var mu sync.Mutex
	var all sync.WaitGroup
	arrivals := rand.New(rand.NewPCG(1, 1))
	for i := 0; ; i++ {
		time.Sleep(time.Duration(arrivals.ExpFloat64() / float64(perSecond) * float64(time.Second)))
		came := time.Since(b.begun)
		if came >= time.Duration(seconds)*time.Second {
			break
		}
		all.Go(func() {
			resp, err := through[i%clients].Get("http://service/")
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			s := &record[came/time.Second]
			s.came++
			if err == nil && resp.StatusCode == http.StatusOK {
				s.served++
			}
		})
	}
	all.Wait()
	_ = server.Close()
	<-served
	time.Sleep(time.Minute) // for the work that nobody waits for
	return record
}

// sum adds up seconds.
func sum(record []answered) (came, served int) {
	for _, s := range record {
		came += s.came
		served += s.served
	}
	return came, served
}

func TestOverloadKeepsGoodput(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b busy
		const seconds = 20
		record := b.ask(t, 4*busyCapacity, seconds)
		if _, served := sum(record[5:]); float64(served) < 0.9*float64(busyCapacity)*(seconds-5) {
			t.Errorf("%d were served of %d that could be: %v", served, busyCapacity*(seconds-5), record)
		}
		if came, _ := sum(record); float64(b.attempts.Load()) > 0.5*float64(came) {
			t.Errorf("of %d requests at four times what it can do %d have reached the service", came, b.attempts.Load())
		}
	})
}

func TestLoadIsNotAmplified(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b busy
		record := b.ask(t, busyCapacity*12/10, 40)
		if came, _ := sum(record); float64(b.attempts.Load()) > 1.11*float64(came) {
			t.Errorf("%d requests have come to %d attempts", came, b.attempts.Load())
		}
	})
}

func TestOutageIsOverSoon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const from, to, seconds = 10, 20, 30
		b := busy{hangs: [2]time.Duration{from * time.Second, to * time.Second}}
		record := b.ask(t, busyCapacity*7/10, seconds)
		if came, served := sum(record[:from-1]); float64(served) < 0.97*float64(came) {
			t.Errorf("%d of %d were served before: %v", served, came, record)
		}
		if came, served := sum(record[to+3:]); float64(served) < 0.95*float64(came) {
			t.Errorf("%d of %d were served three seconds after the end: %v", served, came, record)
		}
		if came, _ := sum(record); float64(b.attempts.Load()) > 1.11*float64(came) {
			t.Errorf("%d requests have come to %d attempts", came, b.attempts.Load())
		}
	})
}
