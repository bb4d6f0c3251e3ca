//go:build linux

package grpc

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/integration/fleet"
	"github.com/uprung/uprung/lb/grpcbalance"
	"github.com/uprung/uprung/retry"
	"github.com/uprung/uprung/retry/grpcretry"
)

// policy is the name under which the balancer is registered.
const policy = "uprung"

func TestMain(m *testing.M) {
	if err := grpcbalance.Register(policy, nil); err != nil {
		panic(err)
	}
	fleet.Main(m, func(l net.Listener, s *fleet.Service) error {
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, worker{service: s})
		return server.Serve(l)
	})
}

// worker is a service, for which that of health stands here: it needs no protoc. The
// name that is asked for is the work to be done, in nanoseconds.
type worker struct {
	grpc_health_v1.UnimplementedHealthServer
	service *fleet.Service
}

func (w worker) Check(_ context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	ns, err := strconv.ParseInt(r.GetService(), 10, 64)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	w.service.Do(time.Duration(ns))
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// Calls survive what befalls four of twenty servers at a time.
func TestRealProcesses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		clients int
		rate    float64 // of each client
	}{
		{"20 a second", 10, 20},
		{"80 a second", 5, 80},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := fleet.Shape{Lasts: 12 * time.Second, Clients: tt.clients, Rate: tt.rate * float64(tt.clients), Work: 20 * time.Millisecond}
			survive(t, s.Plan(fleet.Seed()))
		})
	}
}

// Calls survive that nineteen of twenty servers are killed at the same time and stay
// away: also those that were in flight.
func TestOneOfTwentyIsLeft(t *testing.T) {
	s := fleet.Shape{Lasts: 7 * time.Second, Clients: 10, Rate: 200, Work: 2 * time.Millisecond}
	survive(t, s.OneLeft(fleet.Seed()))
}

// survive carries out a plan with a connection and a retrier for each client.
func survive(t *testing.T, p *fleet.Plan) {
	t.Helper()
	f := fleet.Start(t)
	var found resolver.State
	for _, addr := range f.Addrs() {
		found.Addresses = append(found.Addresses, resolver.Address{Addr: addr})
	}
	clients := make([]grpc_health_v1.HealthClient, p.Clients)
	retriers := make([]*retry.Retrier, p.Clients)
	reads := func(string) bool { return true }
	for i := range clients {
		var err error
		if retriers[i], err = retry.New(&retry.Options{AttemptTimeout: fleet.AttemptTimeout}); err != nil {
			t.Fatal(err)
		}
		addresses := manual.NewBuilderWithScheme("fleet")
		addresses.InitialState(found)
		conn, err := grpc.NewClient("fleet:///orders",
			grpc.WithResolvers(addresses),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultServiceConfig(grpcbalance.ServiceConfig(policy)),
			grpc.WithChainUnaryInterceptor(grpcretry.UnaryClientInterceptor(retriers[i], reads)),
		)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		clients[i] = grpc_health_v1.NewHealthClient(conn)
	}
	fleet.Survive(t, p, f, retriers, func(ctx context.Context, client int, work time.Duration) error {
		_, err := clients[client].Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: strconv.FormatInt(int64(work), 10)})
		return err
	})
}
