package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/internal/memnet"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/middlewaretest"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/retry"
)

func TestEveryBadFieldIsNamed(t *testing.T) {
	t.Parallel()
	_, err := NewTransport(nil, &Options{
		Name: "a\n", AttemptTimeout: time.Hour, HedgeAt: 2, InFlight: ratelimit.AtMost(-1),
		Retry: &retry.Options{Attempts: -1}, LB: &lb.Options{PanicThreshold: 2}, Breaker: &breaker.Options{MinRequests: -1}, Throttle: &breaker.ThrottleOptions{K: -1},
	})
	for _, want := range []string{
		`client: Name is "a\n"`, "client: AttemptTimeout is 1h0m0s, want at most Deadline, 10s", "client: HedgeAt is 2",
		"retry: Attempts is -1", "lb: PanicThreshold is 2", "MinRequests is -1", "breaker: ", "ratelimit: ",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
}

func TestStackIsInOrder(t *testing.T) {
	t.Parallel()
	transport := uprung.Must(NewTransport(lb.Addrs("127.0.0.1:1"), nil))
	report := uprung.VetTransport(transport)
	if len(report.Findings) > 0 {
		t.Errorf("findings: %v", report.Findings)
	}
	var kinds []string
	for _, l := range report.Layers {
		kinds = append(kinds, string(l.Kind))
	}
	got := strings.Join(kinds, " ")
	if want := "client deadline retry balance breaker throttle "; !strings.HasPrefix(got, want) || len(kinds) != 7 {
		t.Errorf("the stack is %q, want %q and a limit", got, want)
	}
	if without := uprung.VetTransport(uprung.Must(NewTransport(lb.Addrs("127.0.0.1:1"), &Options{Deadline: -1}))); without.Layers[1].Kind != uprung.KindRetry {
		t.Errorf("without a deadline it begins with %v", without.Layers[1])
	}
}

// The kit asks several servers, here each a service of one endpoint.
func TestKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	middlewaretest.RunTransport(t, func(base http.RoundTripper) http.RoundTripper {
		return &services{base: base, of: map[string]http.RoundTripper{}}
	}, &middlewaretest.TransportOptions{Refusing: func(base http.RoundTripper) http.RoundTripper {
		return uprung.Must(NewTransport(lb.Addrs("127.0.0.1:1"), &Options{Base: base, LB: &lb.Options{Eligible: func(string) bool { return false }}}))
	}})
}

// services has a transport for each host.
type services struct {
	base http.RoundTripper
	mu   sync.Mutex
	of   map[string]http.RoundTripper
}

func (s *services) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	rt := s.of[r.URL.Host]
	if rt == nil {
		rt = uprung.Must(NewTransport(lb.Addrs(r.URL.Host), &Options{Base: s.base}))
		s.of[r.URL.Host] = rt
	}
	s.mu.Unlock()
	return rt.RoundTrip(r)
}

// fleet is servers in memory, some of which can hang or fail.
type fleet struct {
	addrs []string
	net   memnet.Network
	seen  []atomic.Int64
	bad   atomic.Int64 // index of the one that misbehaves; negative if none
	how   http.HandlerFunc
}

func newFleet(t *testing.T, n int, how http.HandlerFunc) *fleet {
	t.Helper()
	f := &fleet{seen: make([]atomic.Int64, n), how: how}
	f.bad.Store(-1)
	for at := range n {
		l := f.net.Listen()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.seen[at].Add(1)
			if int64(at) == f.bad.Load() {
				f.how(w, r)
				return
			}
			select {
			case <-time.After(5*time.Millisecond + rand.N(10*time.Millisecond)):
				_, _ = fmt.Fprint(w, at)
			case <-r.Context().Done():
			}
		})}
		go func() { _ = server.Serve(l) }() // ends with Close
		t.Cleanup(func() { _ = server.Close() })
		f.addrs = append(f.addrs, l.Addr().String())
	}
	return f
}

// load sends requests for a time, and returns how many failed and how long the slowest
// took.
func (f *fleet) load(t *testing.T, transport http.RoundTripper, perSecond int, d time.Duration) (sent, failed int64, slowest time.Duration) {
	t.Helper()
	client := &http.Client{Transport: transport}
	var bad atomic.Int64
	var most atomic.Int64
	done := make(chan struct{}, 10_000)
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second / time.Duration(perSecond)) {
		sent++
		go func() {
			defer func() { done <- struct{}{} }()
			begin := time.Now()
			resp, err := client.Get("http://service/")
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			if err != nil || resp.StatusCode != 200 {
				bad.Add(1)
			}
			for took := int64(time.Since(begin)); ; {
				if old := most.Load(); took <= old || most.CompareAndSwap(old, took) {
					break
				}
			}
		}()
	}
	for range sent {
		<-done
	}
	return sent, bad.Load(), time.Duration(most.Load())
}

func TestOneOfFourHangsOrFails(t *testing.T) {
	for name, how := range map[string]http.HandlerFunc{
		"hangs":     func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"fails":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"breaks":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"is so-so ": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Retry-After", "1"); w.WriteHeader(503) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 4, how)
				transport := uprung.Must(NewTransport(lb.Addrs(f.addrs...), &Options{Base: &http.Transport{DialContext: f.net.DialContext, MaxIdleConnsPerHost: 100}}))
				defer transport.CloseIdleConnections()
				if sent, failed, _ := f.load(t, transport, 50, 5*time.Second); failed > 0 {
					t.Fatalf("%d of %d failed while all was well", failed, sent)
				}
				f.bad.Store(2)
				before := f.seen[2].Load()
				sent, failed, slowest := f.load(t, transport, 50, 10*time.Second)
				if failed > 0 || slowest > 3*time.Second {
					t.Errorf("%d of %d failed, and the slowest took %v", failed, sent, slowest)
				}
				if got := f.seen[2].Load() - before; got > 40 {
					t.Errorf("it got %d of %d requests", got, sent)
				}
				f.bad.Store(-1)
				// It is tried again once the memory of its failures has faded, which takes
				// longer the less there is to do.
				f.load(t, transport, 20, 90*time.Second)
				before = f.seen[2].Load()
				if f.load(t, transport, 50, 30*time.Second); f.seen[2].Load()-before < 75 {
					t.Errorf("after it was well again it got %d of 1500 requests", f.seen[2].Load()-before)
				}
			})
		})
	}
}

func TestAllFailCostsLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reached atomic.Int64
		down := httptestTransport(func(*http.Request) (*http.Response, error) {
			reached.Add(1)
			return &http.Response{StatusCode: 500, Header: http.Header{}, Body: http.NoBody}, nil
		})
		transport := uprung.Must(NewTransport(lb.Addrs("127.0.0.1:1", "127.0.0.1:2"), &Options{Base: down}))
		rejected := 0
		for range 2000 {
			resp, err := transport.RoundTrip(httptest.NewRequest("GET", "http://service/", nil))
			if err == nil {
				_ = resp.Body.Close()
			} else if _, ok := errors.AsType[*uprung.Rejection](err); ok {
				rejected++
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := reached.Load(); n > 1000 || rejected < 1000 {
			t.Errorf("of 2000 requests %d attempts have reached the service, and %d were refused", n, rejected)
		}
	})
}

type httptestTransport func(*http.Request) (*http.Response, error)

func (f httptestTransport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestDeadlineBoundsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hangs := httptestTransport(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		})
		transport := uprung.Must(NewTransport(lb.Addrs("127.0.0.1:1"), &Options{Base: hangs, Deadline: 3 * time.Second}))
		begin := time.Now()
		_, err := transport.RoundTrip(httptest.NewRequest("GET", "http://service/", nil))
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > 3*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
	})
}

func TestFiguresOfAllParts(t *testing.T) {
	t.Parallel()
	transport := uprung.Must(NewTransport(lb.Addrs("127.0.0.1:1"), &Options{Name: "orders"}))
	prefixes := map[string]bool{}
	for m := range transport.Metrics {
		prefixes[strings.Join(strings.SplitN(m.Name, "_", 3)[:2], "_")] = true
		if m.Labels[0].Value != "orders" {
			t.Errorf("%s is of %q", m.Name, m.Labels[0].Value)
		}
	}
	for _, want := range []string{"uprung_deadline", "uprung_retry", "uprung_lb", "uprung_breaker", "uprung_ratelimit"} {
		if !prefixes[want] {
			t.Errorf("no figures of %s in %v", want, prefixes)
		}
	}
	for range transport.Metrics {
		break
	}
	if s := transport.Stats(); s.Retry.Requests != 0 || transport.Saturation() != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := uprung.Must(NewTransport(lb.Addrs("127.0.0.1:1"), nil))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		if err := transport.Run(ctx); err != nil || time.Since(begin) != time.Hour {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}
