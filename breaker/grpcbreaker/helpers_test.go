package grpcbreaker

import (
	"context"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/internal/grpctest"
)

// The methods of grpc.health.v1: Check is unary, and Watch streams down.
const check = "/grpc.health.v1.Health/Check"

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

func mustNew(tb testing.TB, o *breaker.Options) *breaker.Breaker {
	tb.Helper()
	b, err := breaker.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// service is a server made of functions.
type service struct {
	grpc_health_v1.UnimplementedHealthServer
	unary  func(context.Context) error
	stream func(grpc_health_v1.Health_WatchServer) error
}

func (s *service) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{}, s.unary(ctx)
}

func (s *service) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc_health_v1.Health_WatchServer) error {
	return s.stream(stream)
}

// serve serves s in the bubble, and returns a client of it.
func serve(t *testing.T, s *service, server []grpc.ServerOption, client ...grpc.DialOption) grpc_health_v1.HealthClient {
	t.Helper()
	register := func(r grpc.ServiceRegistrar) { grpc_health_v1.RegisterHealthServer(r, s) }
	return grpc_health_v1.NewHealthClient(grpctest.Serve(t, register, server, client...))
}

// guarded are server options with a breaker.
func guarded(b *breaker.Breaker) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.UnaryInterceptor(UnaryServerInterceptor(One(b), nil)), grpc.StreamInterceptor(StreamServerInterceptor(One(b), nil))}
}

// guarding are dial options with a breaker.
func guarding(b *breaker.Breaker) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithUnaryInterceptor(UnaryClientInterceptor(One(b), nil)), grpc.WithStreamInterceptor(StreamClientInterceptor(One(b), nil))}
}
