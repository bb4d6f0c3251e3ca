package grpcbalance

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental/balancer/weight"
	_ "google.golang.org/grpc/health" // the client's side of health checks
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb"
	"github.com/uprung/uprung/lb/pick"
)

func TestRegister(t *testing.T) {
	b := registered(t, nil)
	for name, want := range map[string]string{
		"":                      `grpcbalance: name is "", want 1 to 64 lower-case letters, digits, _, - and dots`,
		"Orders":                `grpcbalance: name is "Orders", want 1 to 64 lower-case letters, digits, _, - and dots`,
		`a"b`:                   `grpcbalance: name is "a\"b", want 1 to 64 lower-case letters, digits, _, - and dots`,
		strings.Repeat("a", 65): `grpcbalance: name is "` + strings.Repeat("a", 65) + `", want 1 to 64 lower-case letters, digits, _, - and dots`,
		"pick_first":            `grpcbalance: name is "pick_first", want one that is not registered yet`,
		b.name:                  `grpcbalance: name is "` + b.name + `", want one that is not registered yet`,
	} {
		if err := Register(name, nil); err == nil || err.Error() != want {
			t.Errorf("Register(%q) = %v, want %s", name, err, want)
		}
	}
	if err := b.Register(); err == nil {
		t.Error("the same balancer was registered twice")
	}
	name := b.name + "-other"
	if err := Register(name, &Options{}); err != nil || balancer.Get(name) == nil {
		t.Errorf("Register(%q) = %v, want nil and a balancer", name, err)
	}
}

func TestEveryBadFieldIsNamed(t *testing.T) {
	t.Parallel()
	_, err := New("A", &Options{
		Policy: pick.Hashed{}, PanicThreshold: 1.1, Patience: -1, RetryAfter: -1,
		Outlier: Outlier{Mode: 20_000, Consecutive: -1, Ejection: -1, MaxEjected: 2},
	})
	want := []string{
		"name is", "PanicThreshold is 1.1, want at most 1", "Patience is -1ns, want >= 0", "RetryAfter is -1ns, want >= 0",
		"Outlier.Mode: uprung: mode is 20000", "Outlier.Consecutive is -1, want >= 0", "Outlier.Ejection is -1ns, want >= 0",
		"Outlier.MaxEjected is 2, want 0 to 1", "Policy: pick: Hashed.Table is nil",
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d errors, want %d: %v", len(lines), len(want), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, "grpcbalance: "+want[i]) {
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
	}
	o := Options{}
	b, err := New("a", &o)
	if err != nil {
		t.Fatal(err)
	}
	if o.Policy != nil || b.o.Policy != (pick.AgeEWMA{}) {
		t.Errorf("policies are %v and %v, want the options as they were, and defaults in a copy", o.Policy, b.o.Policy)
	}
}

func TestCallsSpread(t *testing.T) {
	b := registered(t, &Options{Seed: 1})
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(5*time.Millisecond), taking(5*time.Millisecond), taking(5*time.Millisecond), taking(5*time.Millisecond))
		if failed := load(t, f.client(b), 800, 8); failed != 0 {
			t.Errorf("%d calls failed, want none", failed)
		}
		s := b.Stats()
		for _, e := range s.Endpoints {
			if e.Successes != e.Picked || e.Picked < 800/4/2 || e.Picked > 800/4*2 {
				t.Errorf("%s: %d calls, %d successes; want about 200, all of them good", e.ID, e.Picked, e.Successes)
			}
		}
		if s.Successes != 800 || s.InFlight != 0 || s.Channels != 1 {
			t.Errorf("figures are %+v, want 800 successes on one channel, and nothing in flight", s)
		}
	})
}

// A server that fails at once gets next to nothing, whether it is ejected or not.
func TestTrap13AFailingServerAttractsNothing(t *testing.T) {
	for name, o := range map[string]*Options{
		"with ejection":    {Seed: 1},
		"without ejection": {Seed: 1, Outlier: Outlier{Mode: uprung.Off}},
	} {
		for _, code := range []codes.Code{codes.Unavailable, codes.Internal, codes.ResourceExhausted} {
			b := registered(t, o)
			t.Run(name+" "+code.String(), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					f := newFleet(t, taking(5*time.Millisecond), taking(5*time.Millisecond), failing(status.Error(code, "")), taking(5*time.Millisecond))
					const calls = 600
					failed := load(t, f.client(b), calls, 3)
					if most := int64(calls / 4 / 20); failed == 0 || failed > most {
						t.Errorf("%d calls failed, want some and at most %d, 5 %% of a fair share", failed, most)
					}
				})
			})
		}
	}
}

func TestTrap14AStalledServerHasFewInFlight(t *testing.T) {
	b := registered(t, &Options{Seed: 1, Outlier: Outlier{Mode: uprung.Off}})
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(5*time.Millisecond), taking(5*time.Millisecond), hanging(), taking(5*time.Millisecond))
		c := f.client(b)
		done := make(chan int64)
		go func() { done <- load(t, c, 2000, 16) }()
		most := int64(0)
		for {
			select {
			case failed := <-done:
				if failed > 20 {
					t.Errorf("%d of 2000 calls failed, want few", failed)
				}
				if most == 0 || most > 5 {
					t.Errorf("%d calls in flight at the stalled server, want 1 to 5 of 16", most)
				}
				return
			case <-time.After(time.Millisecond):
				most = max(most, b.Stats().of(t, "c").InFlight)
			}
		}
	})
}

func TestAServerIsKilledAndReturns(t *testing.T) {
	b := registered(t, &Options{Seed: 1})
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(5*time.Millisecond), taking(5*time.Millisecond), taking(5*time.Millisecond))
		c := f.client(b)
		load(t, c, 300, 6)
		go f.stop("b")
		if failed := load(t, c, 300, 6); failed > 6 {
			t.Errorf("%d calls failed, want no more than were in progress", failed)
		}
		synctest.Wait()
		if e := b.Stats().of(t, "b"); e.Ready != 0 {
			t.Errorf("figures are %+v of a server that is dead", e)
		}
		before := b.Stats().of(t, "b").Picked
		if failed := load(t, c, 300, 6); failed != 0 || b.Stats().of(t, "b").Picked != before {
			t.Errorf("%d calls failed and %d went to a server that is dead, want none", failed, b.Stats().of(t, "b").Picked-before)
		}
		f.start("b", taking(5*time.Millisecond))
		time.Sleep(3 * time.Minute) // gRPC waits for up to 2 between attempts to connect
		load(t, c, 300, 6)
		if got := b.Stats().of(t, "b").Picked - before; got < 50 {
			t.Errorf("%d of 300 calls went to a server that has returned, want about 100", got)
		}
	})
}

// Endpoints come and go while calls go on: none fails, those that stay keep what is
// known of them, and those that are gone get nothing.
func TestTrap17EndpointsComeAndGo(t *testing.T) {
	b := registered(t, &Options{Seed: 1})
	bubble(t, func(t *testing.T) {
		slow := taking(5 * time.Millisecond)
		f := newFleet(t, taking(5*time.Millisecond), slow, taking(5*time.Millisecond), failing(status.Error(codes.Internal, "")))
		c := f.client(b)
		load(t, c, 400, 4) // d is known to fail
		done := make(chan int64)
		go func() { done <- load(t, c, 1000, 4) }()
		for range 10 {
			time.Sleep(50 * time.Millisecond)
			f.resolver.UpdateState(endpoints("a", "d"))
			synctest.Wait()
			if got := b.Stats().ids(); got != "a d" {
				t.Errorf("endpoints are %q, want a and d", got)
			}
			before := slow.calls.Load()
			time.Sleep(50 * time.Millisecond)
			if after := slow.calls.Load(); after != before {
				t.Errorf("%d calls to an endpoint that is gone", after-before)
			}
			f.resolver.UpdateState(endpoints("d", "c", "b", "a"))
		}
		if failed := <-done; failed > 2 {
			t.Errorf("%d calls failed, want next to none: d is known to fail", failed)
		}
		if e := b.Stats().of(t, "b"); e.Picked == 0 {
			t.Error("no call went to an endpoint that has come back")
		}
	})
}

func TestTrap18AnEmptyAnswerOfTheResolverChangesNothing(t *testing.T) {
	b := registered(t, nil)
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0), taking(0))
		c := f.client(b)
		for _, s := range []resolver.State{{}, {Endpoints: []resolver.Endpoint{{}}}} {
			f.resolver.UpdateState(s)
			synctest.Wait()
			if failed := load(t, c, 10, 1); failed != 0 || b.Stats().ids() != "a b" {
				t.Errorf("%d of 10 calls failed, and endpoints are %q, want a and b as before", failed, b.Stats().ids())
			}
		}
		f.resolver.CC().ReportError(errors.New("name server is down"))
		synctest.Wait()
		if failed := load(t, c, 10, 1); failed != 0 {
			t.Errorf("%d of 10 calls failed after an error of the resolver", failed)
		}
	})
}

func TestWithoutAnyConnection(t *testing.T) {
	b := registered(t, nil)
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0), taking(0))
		f.stop("a")
		f.stop("b")
		c := f.client(b)
		err := check(t.Context(), c)
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("error is %v, want UNAVAILABLE with the last error of a connection", err)
		}
		if _, rejected := errors.AsType[*uprung.Rejection](err); rejected {
			t.Errorf("%v is a rejection, which nobody made", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := check(ctx, c, grpc.WaitForReady(true)); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("error is %v, want that the call has waited", err)
		}
		waited := make(chan error)
		go func() { waited <- check(t.Context(), c, grpc.WaitForReady(true)) }()
		time.Sleep(time.Second)
		f.start("b", taking(0))
		if err := <-waited; err != nil {
			t.Errorf("error is %v of a call that waits until there is a server", err)
		}
		if s := b.Stats(); s.Successes != 1 || s.Failures+s.Ignored+s.Rejected != 0 {
			t.Errorf("figures are %+v, want nothing of calls that were not sent", s)
		}
	})
}

// Before the first answer of a resolver, there is an error and not a wait for ever.
func TestNoEndpointsAtAll(t *testing.T) {
	b := registered(t, nil)
	bubble(t, func(t *testing.T) {
		f := newFleet(t)
		f.resolver = manual.NewBuilderWithScheme("fleet")
		f.resolver.InitialState(resolver.State{})
		if err := check(t.Context(), f.client(b)); status.Code(err) != codes.Unavailable {
			t.Errorf("error is %v, want UNAVAILABLE", err)
		}
	})
}

func TestWeights(t *testing.T) {
	b := registered(t, &Options{Policy: pick.RoundRobin{}, Seed: 1})
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0), taking(0), taking(0))
		s := endpoints("a", "b", "c")
		// More than a policy takes, so that they are scaled down.
		s.Endpoints[0] = weight.Set(s.Endpoints[0], weight.EndpointInfo{Weight: 3_000_000})
		s.Endpoints[1] = weight.Set(s.Endpoints[1], weight.EndpointInfo{Weight: 1_000_000})
		s.Endpoints[2] = weight.Set(s.Endpoints[2], weight.EndpointInfo{Weight: 1_000_000})
		f.resolver.InitialState(s)
		load(t, f.client(b), 500, 1)
		for id, want := range map[string]uint64{"a": 300, "b": 100, "c": 100} {
			if got := b.Stats().of(t, id).Picked; got < want-2 || got > want+2 {
				t.Errorf("%s got %d calls, want about %d", id, got, want)
			}
		}
	})
}

func TestIDs(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, tt := range []struct {
		addrs []string
		want  string
	}{
		{[]string{"a", "x"}, "a"},
		{[]string{"a", "y"}, "a,y"},
		{[]string{"a", "y"}, "a,y#2"},
		{[]string{"a", "y"}, "a,y#3"},
		{[]string{"b"}, "b"},
	} {
		var e resolver.Endpoint
		for _, addr := range tt.addrs {
			e.Addresses = append(e.Addresses, resolver.Address{Addr: addr})
		}
		if got := identify(e, used); got != tt.want {
			t.Errorf("the ID of %v is %q, want %q", tt.addrs, got, tt.want)
		}
	}
}

// Calls of one key go to one server, and to another when that is gone.
func TestByKey(t *testing.T) {
	type userKey struct{}
	b := registered(t, &Options{Policy: lb.ByKey(nil), Key: func(ctx context.Context, method string) (string, bool) {
		user, ok := ctx.Value(userKey{}).(string)
		return user + method, ok
	}})
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0), taking(0), taking(0), taking(0))
		c := f.client(b)
		home := ""
		for _, user := range []string{"alice", "bob", "carol"} {
			before := b.Stats()
			for range 20 {
				if err := check(context.WithValue(t.Context(), userKey{}, user), c); err != nil {
					t.Fatal(err)
				}
			}
			homes := 0
			for _, e := range b.Stats().Endpoints {
				if got := e.Picked - before.of(t, e.ID).Picked; got == 20 {
					homes++
					home = e.ID
				} else if got != 0 {
					t.Errorf("%d calls of %s went to %s, want all 20 to one", got, user, e.ID)
				}
			}
			if homes != 1 {
				t.Errorf("%s is at home at %d endpoints, want one", user, homes)
			}
		}
		f.stop(home)
		synctest.Wait()
		if err := check(context.WithValue(t.Context(), userKey{}, "carol"), c); err != nil {
			t.Errorf("error is %v once the home is gone", err)
		}
		load(t, c, 100, 1) // calls without a key go anywhere
		for _, e := range b.Stats().Endpoints {
			if e.Picked == 0 {
				t.Errorf("no call went to %s", e.ID)
			}
		}
	})
}

// A server that says that it is not serving is not picked, if the service config asks
// for that.
func TestClientSideHealthChecks(t *testing.T) {
	b := registered(t, &Options{Policy: pick.RoundRobin{}})
	bubble(t, func(t *testing.T) {
		says := func(s grpc_health_v1.HealthCheckResponse_ServingStatus) *service {
			return &service{watch: func(stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
				if err := stream.Send(&grpc_health_v1.HealthCheckResponse{Status: s}); err != nil {
					return err
				}
				<-stream.Context().Done()
				return nil
			}}
		}
		f := newFleet(t, says(grpc_health_v1.HealthCheckResponse_SERVING), says(grpc_health_v1.HealthCheckResponse_NOT_SERVING))
		config := strings.TrimSuffix(ServiceConfig(b.name), "}") + `,"healthCheckConfig":{"serviceName":""}}`
		load(t, f.client(b, grpc.WithDefaultServiceConfig(config)), 20, 1)
		if s := b.Stats(); s.of(t, "a").Picked != 20 || s.of(t, "b").Picked != 0 {
			t.Errorf("figures are %+v, want all 20 calls at the one that is serving", s.Endpoints)
		}
	})
}

// A connection that becomes idle is forgotten, and comes back.
func TestIdleConnections(t *testing.T) {
	b := registered(t, nil)
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0))
		conn := f.conn(b, grpc.WithIdleTimeout(time.Minute))
		c := grpc_health_v1.NewHealthClient(conn)
		for range 3 {
			if err := check(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if s := b.Stats(); s.Channels != 1 || s.ids() != "a" {
				t.Errorf("figures are %+v, want one channel with one endpoint", s)
			}
			time.Sleep(3 * time.Minute)
			if s := b.Stats(); s.Channels != 0 || len(s.Endpoints) != 0 {
				t.Errorf("figures are %+v of a connection that is idle", s)
			}
		}
		if s := b.Stats(); s.Successes != 3 {
			t.Errorf("%d successes, want 3: totals stay", s.Successes)
		}
		_ = conn.Close()
		if s := b.Stats(); s.Channels != 0 {
			t.Errorf("%d channels after the last was closed", s.Channels)
		}
	})
}

func TestServiceConfig(t *testing.T) {
	t.Parallel()
	if got, want := ServiceConfig("uprung"), `{"loadBalancingConfig":[{"uprung":{}}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := grpc.NewClient("localhost:0", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(ServiceConfig("nobody"))); err == nil {
		t.Error("a connection was made with a balancer that is not registered")
	}
}
