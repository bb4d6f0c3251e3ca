package lb

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
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
