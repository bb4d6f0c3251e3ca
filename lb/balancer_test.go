package lb

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/lb/pick"
)

func TestNewErrors(t *testing.T) {
	t.Parallel()
	probe := health.ProberFunc(func(context.Context, string) error { return nil })
	_, err := New(Static{
		{Addr: "a"}, {Addr: ":80"}, {Addr: "a:80", Weight: -1}, {ID: "x", Addr: "b:80", Weight: pick.MaxWeight + 1},
		{ID: "x", Addr: "c:80", Priority: -1},
	}, &Options{
		Name: "tab\t", Refresh: -1, ResolveTimeout: -1, Patience: -1, RetryAfter: -1, PanicThreshold: 2, ZoneInFlight: 1,
		Policy: pick.Hashed{}, Monitor: &health.MonitorOptions{},
		Outlier: Outlier{Mode: 20_000, Deviations: math.NaN(), Slower: 1, Interval: -1, MinRequests: -1, MinEndpoints: -1, Ejection: -1, MaxEjected: 2},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`endpoints[0].Addr is "a", want host:port`, `endpoints[1].Addr is ":80"`, "endpoints[2].Weight is -1, want 0 to 65535",
		"endpoints[3].Weight is 65536", `endpoints[4].ID is "x", want one that no other has, and endpoints[3] has it`, "endpoints[4].Priority is -1",
		`Name is "tab\t"`, "Refresh is -1ns", "ResolveTimeout is -1ns", "Patience is -1ns", "RetryAfter is -1ns", "PanicThreshold is 2",
		"ZoneInFlight is 1, want 0 where Zone is empty", "Hashed.Table is nil", "Monitor is set, want also Probe",
		"Outlier.Mode", "Outlier.Deviations is NaN", "Outlier.Slower is 1", "Outlier.Interval is -1ns", "Outlier.MinRequests is -1",
		"Outlier.MinEndpoints is -1", "Outlier.Ejection is -1ns", "Outlier.MaxEjected is 2",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
	if _, err := New(nil, &Options{Probe: probe, Monitor: &health.MonitorOptions{Interval: -1}}); err == nil ||
		!strings.Contains(err.Error(), "resolver is nil") || !strings.Contains(err.Error(), "Interval is -1ns") {
		t.Errorf("error is %v, want one of the resolver and one of the monitor", err)
	}
	if _, err := New(Static{}, nil); err == nil || !strings.Contains(err.Error(), "no endpoints") {
		t.Errorf("error is %v, want one of no endpoints", err)
	}
}

func TestLayer(t *testing.T) {
	t.Parallel()
	b := mustNew(t, Addrs("a:80"), &Options{Name: "orders", Zone: "north"})
	got := uprung.ExplainTransport(b.Transport(nil))
	for _, want := range []string{
		`balance "orders"`, "pick.AgeEWMA (default)", `Zone            "north"`, "PanicThreshold  0.5 (default)", "SlowStart       10s (default)",
		"Outlier         enforce, after 5 failures, for 3s, at most 0.1 (default)", "Patience        1s (default)", "*http.Transport",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("explanation lacks %q:\n%s", want, got)
		}
	}
}

// Requests that come before the endpoints are known wait for one resolution, each as
// long as it likes.
func TestFirstResolution(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, named("a"))
		calls := 0
		b := mustNew(t, ResolverFunc(func(ctx context.Context) ([]Endpoint, error) {
			calls++
			time.Sleep(3 * time.Second)
			return Addrs(f.addrs...), ctx.Err()
		}), nil)
		var workers sync.WaitGroup
		for i := range 20 {
			workers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%2*4+1)*time.Second)
				defer cancel()
				err := b.await(ctx)
				if want := i%2 == 1; (err == nil) != want {
					t.Errorf("waiting for %d s ended with %v", i%2*4+1, err)
				}
			})
		}
		workers.Wait()
		if calls != 1 {
			t.Errorf("%d calls of the resolver, want 1", calls)
		}
	})
}

// A resolver that fails is asked again after a second, and not by each request.
func TestFirstResolutionFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		r := &changing{err: broken}
		b := mustNew(t, r, &Options{Name: "orders"})
		for range 5 {
			err := b.await(t.Context())
			rejection, ok := errors.AsType[*uprung.Rejection](err)
			if !ok || !errors.Is(err, ErrNoEndpoint) || !errors.Is(err, broken) || rejection.RetryAfter != time.Second || rejection.Name != "orders" {
				t.Errorf("waited until %v, want a rejection for want of endpoints", err)
			}
		}
		if r.calls != 1 {
			t.Errorf("%d calls of the resolver, want 1", r.calls)
		}
		r.set(nil, Endpoint{Addr: "a:80"})
		time.Sleep(time.Second)
		if err := b.await(t.Context()); err != nil || r.calls != 2 {
			t.Errorf("waited until %v after %d calls, want nil after 2", err, r.calls)
		}
		if got := b.Stats(); got.Rejected != 5 || got.Resolved != 1 || got.Unresolved != 1 {
			t.Errorf("stats are %+v", got)
		}
	})
}

func TestResolverPanics(t *testing.T) {
	t.Parallel()
	b := mustNew(t, ResolverFunc(func(context.Context) ([]Endpoint, error) { panic("oops") }), nil)
	if err := b.await(t.Context()); err == nil || !strings.Contains(err.Error(), "the resolver panicked: oops") {
		t.Errorf("waited until %v, want the panic", err)
	}
}

func TestResolverHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, ResolverFunc(func(ctx context.Context) ([]Endpoint, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}), &Options{ResolveTimeout: 2 * time.Second})
		start := time.Now()
		if err := b.await(t.Context()); !errors.Is(err, ErrNoEndpoint) || time.Since(start) != 2*time.Second {
			t.Errorf("waited %v until %v, want 2s and no endpoint", time.Since(start), err)
		}
	})
}

// What cannot be, such as two endpoints of one ID, does not replace what was.
func TestTrap18ResolverErrorKeepsTheLastGoodSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &changing{endpoints: Addrs("a:80", "b:80")}
		b := mustNew(t, r, nil)
		start(t, b)
		for _, bad := range []struct {
			endpoints []Endpoint
			err       error
		}{
			{err: errors.New("broken")}, {}, {endpoints: []Endpoint{{ID: "x", Addr: "c:80"}, {ID: "x", Addr: "d:80"}}},
		} {
			r.set(bad.err, bad.endpoints...)
			time.Sleep(34 * time.Second)
			if got := b.Stats(); len(got.Endpoints) != 2 || got.Usable != 2 {
				t.Errorf("endpoints after %v, %v are %+v, want a:80 and b:80", bad.endpoints, bad.err, got.Endpoints)
			}
		}
		if got := b.Stats(); got.Unresolved < 3 {
			t.Errorf("%d resolutions failed, want 3 at least", got.Unresolved)
		}
		r.set(nil, Addrs("c:80")...)
		time.Sleep(34 * time.Second)
		if got := b.Stats(); len(got.Endpoints) != 1 || got.Endpoints[0].ID != "c:80" {
			t.Errorf("endpoints are %+v, want c:80", got.Endpoints)
		}
	})
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, Addrs("a:80"), nil)
		start(t, b)
		if err := b.Run(t.Context()); err == nil {
			t.Error("a second Run = nil, want an error")
		}
	})
}

func TestProbedEndpoints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, named("a"), named("b"), named("c"))
		var mu sync.Mutex
		sick := map[string]bool{}
		ill := func(addr string, is bool) {
			mu.Lock()
			defer mu.Unlock()
			sick[addr] = is
		}
		c, b := f.client(t, &Options{
			Policy: pick.RoundRobin{}, SlowStart: -1,
			Probe: health.ProberFunc(func(_ context.Context, addr string) error {
				mu.Lock()
				defer mu.Unlock()
				if sick[addr] {
					return errors.New("sick")
				}
				return nil
			}),
		})
		start(t, b)
		count := func() (n int) {
			before := b.Stats()
			for range 30 {
				get(t, c, "http://orders/")
			}
			return int(b.Stats().of(t, f.addrs[1]).Picked - before.of(t, f.addrs[1]).Picked)
		}
		if got := count(); got != 10 {
			t.Errorf("the endpoint got %d of 30 requests, want 10", got)
		}
		ill(f.addrs[1], true)
		time.Sleep(time.Minute)
		if got := count(); got != 0 {
			t.Errorf("the sick endpoint got %d of 30 requests, want 0", got)
		}
		if s := b.Stats(); s.of(t, f.addrs[1]).Health != health.Unhealthy || s.Usable != 2 {
			t.Errorf("stats are %+v, want one unhealthy", s)
		}
		ill(f.addrs[1], false)
		time.Sleep(time.Minute)
		if got := count(); got != 10 {
			t.Errorf("the endpoint that is well again got %d of 30 requests, want 10", got)
		}
	})
}

// Before the first probe, every endpoint is taken to be well.
func TestTrap28UnknownIsUsable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, named("a"))
		c, _ := f.client(t, &Options{Probe: health.ProberFunc(func(context.Context, string) error { return errors.New("not asked") })})
		if code, body := get(t, c, "http://orders/"); code != 200 || body != "a" {
			t.Errorf("got %d %s, want 200 a", code, body)
		}
	})
}

// A resolver may end its goroutine: those who wait are told.
func TestResolverEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := true
		b := mustNew(t, ResolverFunc(func(context.Context) ([]Endpoint, error) {
			if first {
				first = false
				runtime.Goexit()
			}
			return Addrs("a:80"), nil
		}), nil)
		if err := b.await(t.Context()); !errors.Is(err, errResolverLeft) {
			t.Errorf("waited until %v, want %v", err, errResolverLeft)
		}
		time.Sleep(retryFirst)
		if err := b.await(t.Context()); err != nil {
			t.Errorf("waited until %v, want nil", err)
		}
	})
}

// The first request does not wait for a call of its own where Run has endpoints.
func TestFirstRequestBehindRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := mustNew(t, ResolverFunc(func(ctx context.Context) ([]Endpoint, error) {
			if calls++; calls > 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			time.Sleep(100 * time.Millisecond)
			return Addrs("a:80"), nil
		}), nil)
		began := time.Now()
		start(t, b)
		if err := b.await(t.Context()); err != nil || time.Since(began) != 100*time.Millisecond {
			t.Errorf("waited %v until %v, want 100ms and nil", time.Since(began), err)
		}
	})
}

// Run ends with its context, also while a request has the resolver called.
func TestRunEndsDuringAResolution(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, ResolverFunc(func(ctx context.Context) ([]Endpoint, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}), nil)
		go func() { _ = b.await(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := b.Run(ctx); err != nil || time.Since(began) != time.Second {
			t.Errorf("Run returned %v after %v, want nil after 1s", err, time.Since(began))
		}
		time.Sleep(b.o.ResolveTimeout) // that of the request is bounded alone
	})
}

// How long endpoints take to be resolved is not how long one takes to answer.
func TestResolutionIsNoResponseTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mustNew(t, ResolverFunc(func(context.Context) ([]Endpoint, error) {
			time.Sleep(3 * time.Second)
			return Addrs("a:80"), nil
		}), nil)
		began := time.Now()
		e := &exchange{b: b, request: httptest.NewRequest(http.MethodGet, "/", nil)}
		if err := e.choose(nil); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 3*time.Second || e.token.Start != waited {
			t.Errorf("after %v the request began at %v, want both to be 3s", waited, e.token.Start)
		}
	})
}

// What is known of an endpoint does not depend on what else is said of it.
func TestChangedWeightKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		endpoints := zoned(0, "n", 3)
		r := &changing{endpoints: endpoints}
		b := mustNew(t, r, &Options{Policy: pick.RoundRobin{}})
		choices(t, b, 15, uprung.Failure)
		bad := slices.IndexFunc(b.Stats().Endpoints, func(e EndpointStats) bool { return e.Ejected })
		before := b.Stats().Endpoints[bad]
		changed := slices.Clone(endpoints)
		for i := range changed {
			changed[i].Weight, changed[i].Zone = 2+i, "elsewhere"
		}
		r.set(nil, changed...)
		if err := b.resolve(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		after := b.Stats().Endpoints[bad]
		before.Zone = after.Zone
		if after != before || after.Zone != "elsewhere" || !after.Ejected || after.Failures == 0 {
			t.Errorf("of the endpoint is known\n%+v, want as before\n%+v", after, before)
		}
	})
}

// Another address under the same ID is another endpoint: it does not pay for what hangs
// at the old one.
func TestMovedEndpointStartsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		endpoints := []Endpoint{{ID: "web-0", Addr: "old:80"}, {ID: "web-1", Addr: "b:80"}}
		r := &changing{endpoints: endpoints}
		b := mustNew(t, r, &Options{SlowStart: -1})
		rt := b.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "old:80" && r.URL.Path == "/hang" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			time.Sleep(10 * time.Millisecond)
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody}, nil
		}))
		ask := func(ctx context.Context, path string) {
			resp, err := rt.RoundTrip(httptest.NewRequest(http.MethodGet, path, nil).WithContext(ctx))
			if err == nil {
				_ = resp.Body.Close()
			}
		}
		for range 20 {
			ask(t.Context(), "/")
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range 40 {
			go ask(ctx, "/hang")
		}
		time.Sleep(time.Second)
		r.set(nil, Endpoint{ID: "web-0", Addr: "new:80"}, endpoints[1])
		if err := b.resolve(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		before := b.Stats()
		if got := before.of(t, "web-0"); got.Picked != 0 || got.InFlight != 0 {
			t.Errorf("of the new address is known %+v, want nothing", got)
		}
		for range 1000 {
			ask(t.Context(), "/")
		}
		if got := b.Stats().of(t, "web-0").Picked; got < 300 {
			t.Errorf("the new address got %d of 1000 requests, want about half", got)
		}
		cancel()
		synctest.Wait()
	})
}

// asking is a log handler that looks at what it is told about.
type asking struct {
	slog.Handler
	b     **Balancer
	asked *int
}

func (a asking) Enabled(context.Context, slog.Level) bool { return true }

func (a asking) Handle(context.Context, slog.Record) error {
	_ = (*a.b).Stats()
	*a.asked++
	return nil
}

// No lock is held while a logger runs.
func TestLoggerMayAskForStats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b *Balancer
		asked := 0
		b = mustNew(t, Addrs("a:80", "b:80"), &Options{Policy: pick.RoundRobin{}, Logger: slog.New(asking{slog.DiscardHandler, &b, &asked})})
		choices(t, b, 20, uprung.Failure)
		time.Sleep(5 * time.Second)
		choices(t, b, 20, uprung.Success)
		if asked < 3 { // resolved, ejected, back
			t.Errorf("the logger was told %d times, want 3 at least", asked)
		}
	})
}

// Figures are those of now, also where no request has brought them up to date.
func TestStatsWithoutRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		b := mustNew(t, Addrs("a:80", "b:80"), &Options{Refresh: time.Hour, Probe: health.ProberFunc(func(context.Context, string) error {
			if bad.Load() {
				return errors.New("down")
			}
			return nil
		})})
		start(t, b)
		time.Sleep(10 * time.Second)
		bad.Store(true)
		time.Sleep(10 * time.Minute)
		if s := b.Stats(); s.Usable != 0 || !s.Panicking || s.Endpoints[0].Health != health.Unhealthy {
			t.Errorf("stats are %+v, want none usable", s)
		}
	})
}

// The longest time there is, is one.
func TestRefreshNever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 20 { // the jitter is random
			r := &changing{endpoints: Addrs("a:80")}
			b := mustNew(t, r, &Options{Refresh: math.MaxInt64})
			ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
			_ = b.Run(ctx)
			cancel()
			if r.calls != 1 {
				t.Fatalf("%d calls of the resolver in a day, want 1", r.calls)
			}
		}
	})
}

// fickle is a policy that may fail.
type fickle struct{ broken *atomic.Bool }

func (f fickle) Picker(endpoints []pick.Endpoint, prev pick.Picker) (pick.Picker, error) {
	if f.broken.Load() {
		return nil, errors.New("broken")
	}
	return pick.AgeEWMA{}.Picker(endpoints, prev)
}

// A policy that fails where it did not before leaves what was in place, and is not asked
// again by each request.
func TestPolicyThatFailsLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var broken, down atomic.Bool
		var log strings.Builder
		b := mustNew(t, Addrs("a:80", "b:80"), &Options{
			Policy: fickle{&broken}, Refresh: time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Probe: health.ProberFunc(func(context.Context, string) error {
				if down.Load() {
					return errors.New("down")
				}
				return nil
			}),
		})
		start(t, b)
		time.Sleep(10 * time.Second)
		broken.Store(true)
		down.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait() // for what is logged
		log.Reset()
		choices(t, b, 100, uprung.Success)
		if n := strings.Count(log.String(), "endpoints not redrawn"); n != 1 {
			t.Errorf("%d lines for 100 requests, want 1", n)
		}
	})
}

// Endpoints that the policy does not take are not in use, and those that are go on being
// probed.
func TestRefusedEndpointsAreNotProbed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		var mu sync.Mutex
		probed := map[string]bool{}
		r := &changing{endpoints: Addrs("old:80")}
		b := mustNew(t, r, &Options{
			Policy: fickle{&broken}, Refresh: time.Hour,
			Probe: health.ProberFunc(func(_ context.Context, addr string) error {
				mu.Lock()
				defer mu.Unlock()
				probed[addr] = true
				return nil
			}),
		})
		start(t, b)
		time.Sleep(10 * time.Second)
		broken.Store(true)
		r.set(nil, Addrs("new:80")...)
		if err := b.resolve(t.Context(), false); err == nil {
			t.Error("endpoints that the policy refuses were taken over")
		}
		mu.Lock()
		clear(probed)
		mu.Unlock()
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if !probed["old:80"] || probed["new:80"] {
			t.Errorf("probed were %v, want the old endpoint alone", probed)
		}
		if got := choices(t, b, 10, uprung.Success); got["old:80"] != 10 {
			t.Errorf("picked %v, want the old endpoint", got)
		}
	})
}
