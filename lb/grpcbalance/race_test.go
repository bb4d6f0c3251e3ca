package grpcbalance

import (
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
)

// Everything at once, over the loopback interface: calls and streams, while endpoints
// come, go, fail, are ejected and refused, and figures are read. What is taken is given
// back.
func TestStress(t *testing.T) {
	b := registered(t, &Options{
		Outlier:  Outlier{Consecutive: 2, Ejection: 20 * time.Millisecond, MaxEjected: 0.5},
		Eligible: func(string) bool { return rand.IntN(10) > 0 },
	})
	t.Parallel()
	const servers = 5
	var all []resolver.Endpoint
	for i := range servers {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, &service{check: func(context.Context) error {
			if i == 0 || rand.IntN(20) == 0 {
				return status.Error(codes.Internal, "")
			}
			return nil
		}})
		go func() { _ = server.Serve(listener) }() // ends with Stop
		t.Cleanup(server.Stop)
		all = append(all, resolver.Endpoint{Addresses: []resolver.Address{{Addr: listener.Addr().String()}}})
	}
	r := manual.NewBuilderWithScheme("stress")
	r.InitialState(resolver.State{Endpoints: all})
	conn, err := grpc.NewClient("stress:///", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(r),
		grpc.WithDefaultServiceConfig(ServiceConfig(b.name)), grpc.WithChainStreamInterceptor(StreamClientInterceptor()))
	if err != nil {
		t.Fatal(err)
	}
	c := grpc_health_v1.NewHealthClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	complete := func() bool { // everything has happened
		s := b.Stats()
		return s.Successes > 0 && s.Failures > 0 && s.Ejections > 0
	}
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for ctx.Err() == nil {
				_ = check(uprung.WithAttempt(ctx, new(uprung.Attempt)), c, grpc.WaitForReady(true))
			}
		})
	}
	running.Go(func() {
		for ctx.Err() == nil {
			within, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			if stream, err := c.Watch(within, &grpc_health_v1.HealthCheckRequest{}); err == nil {
				for err == nil {
					_, err = stream.Recv()
				}
			}
			cancel()
		}
	})
	running.Go(func() {
		for ctx.Err() == nil {
			some := slices.Clone(all) // gRPC keeps what it is given
			rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
			r.UpdateState(resolver.State{Endpoints: some[:1+rand.IntN(servers)]})
			for range b.Metrics {
			}
			if time.Since(began) > 500*time.Millisecond && complete() {
				cancel()
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	running.Wait()
	if !complete() {
		t.Errorf("figures are %+v, want calls that succeed and fail, and endpoints that are ejected", b.Stats())
	}
	_ = conn.Close()
	if s := b.Stats(); s.InFlight != 0 || s.Channels != 0 {
		t.Errorf("figures are %+v after all has ended, want nothing in flight", s)
	}
}
