package grpchealth

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/internal/memnet"
)

const (
	serving    = grpc_health_v1.HealthCheckResponse_SERVING
	notServing = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	unknown    = grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
)

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// toggle is a check that passes unless it is set to fail.
type toggle struct{ fails atomic.Bool }

func (c *toggle) probe(context.Context) error {
	if c.fails.Load() {
		return context.Canceled // some error
	}
	return nil
}

// newServer returns a server of a registry with one check.
func newServer(t *testing.T, o *ServerOptions) (*Server, *health.Registry, *toggle) {
	t.Helper()
	check := &toggle{}
	registry, err := health.NewRegistry([]health.Check{{Name: "a", Probe: check.probe, TTL: -1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(registry, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, registry, check
}

// serve serves s in the bubble, and returns the server and where it listens.
func serve(t *testing.T, network *memnet.Network, s grpc_health_v1.HealthServer, o ...grpc.ServerOption) (*grpc.Server, string) {
	t.Helper()
	return grpctest.Listen(t, network, func(r grpc.ServiceRegistrar) { grpc_health_v1.RegisterHealthServer(r, s) }, o...)
}

// client returns a client of the server at addr.
func client(t *testing.T, network *memnet.Network, addr string) grpc_health_v1.HealthClient {
	t.Helper()
	return grpc_health_v1.NewHealthClient(grpctest.Dial(t, network, addr))
}

// running runs s until the test ends or stop is called.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(ctx); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return stop
}

// updates receives what a watcher is sent, until its stream ends.
func updates(t *testing.T, c grpc_health_v1.HealthClient, service string) <-chan grpc_health_v1.HealthCheckResponse_ServingStatus {
	t.Helper()
	stream, err := c.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan grpc_health_v1.HealthCheckResponse_ServingStatus, 100)
	go func() {
		defer close(got)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			got <- r.GetStatus()
		}
	}()
	return got
}

// next returns the next update within a time.
func next(t *testing.T, updates <-chan grpc_health_v1.HealthCheckResponse_ServingStatus, within time.Duration) (grpc_health_v1.HealthCheckResponse_ServingStatus, bool) {
	t.Helper()
	select {
	case s, ok := <-updates:
		if !ok {
			t.Fatal("the stream has ended")
		}
		return s, true
	case <-time.After(within):
		return 0, false
	}
}
