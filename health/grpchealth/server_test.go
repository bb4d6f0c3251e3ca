package grpchealth

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/internal/memnet"
)

func TestCheckEvaluatesOnDemand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network memnet.Network
		s, _, check := newServer(t, &ServerOptions{Services: []string{"app.v1.Carts"}})
		_, addr := serve(t, &network, s)
		c := client(t, &network, addr)
		for _, fails := range []bool{false, true, false} {
			check.fails.Store(fails)
			want := serving
			if fails {
				want = notServing
			}
			for _, service := range []string{"", "app.v1.Carts"} {
				r, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
				if err != nil || r.GetStatus() != want {
					t.Errorf("Check(%q) = %v, %v, want %v", service, r.GetStatus(), err, want)
				}
			}
			list, err := c.List(t.Context(), &grpc_health_v1.HealthListRequest{})
			if err != nil || len(list.GetStatuses()) != 2 || list.GetStatuses()["app.v1.Carts"].GetStatus() != want {
				t.Errorf("List() = %v, %v, want two that are %v", list, err, want)
			}
		}
		if _, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "app.v1.Orders"}); status.Code(err) != codes.NotFound {
			t.Errorf("Check of an unregistered service = %v, want NOT_FOUND", err)
		}
	})
}

func TestRunTellsWatchers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network memnet.Network
		s, _, check := newServer(t, nil)
		_, addr := serve(t, &network, s)
		c := client(t, &network, addr)
		stop := running(t, s.Run)
		synctest.Wait()
		if err := s.Run(t.Context()); err == nil {
			t.Error("a second Run at one time returned nil")
		}
		watcher := updates(t, c, "")
		if got, _ := next(t, watcher, time.Second); got != serving {
			t.Fatalf("first %v, want %v", got, serving)
		}
		for _, fails := range []bool{true, false} {
			check.fails.Store(fails)
			if got, ok := next(t, watcher, 2*DefaultInterval); !ok || (got == serving) == fails {
				t.Errorf("told %v (%v) within two intervals, fails %v", got, ok, fails)
			}
		}
		if got, ok := next(t, watcher, time.Hour); ok {
			t.Errorf("told %v though nothing changed", got)
		}
		stop()
		check.fails.Store(true)
		if got, ok := next(t, watcher, time.Hour); ok {
			t.Errorf("told %v after Run has ended", got)
		}
		// Somebody asks, and all are told.
		if _, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
		if got, _ := next(t, watcher, time.Second); got != notServing {
			t.Errorf("told %v, want %v", got, notServing)
		}
	})
}

func TestDrainIsToldAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network memnet.Network
		s, registry, _ := newServer(t, &ServerOptions{Interval: time.Hour})
		server, addr := serve(t, &network, s)
		c := client(t, &network, addr)
		running(t, s.Run)
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := c.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		receive := func() grpc_health_v1.HealthCheckResponse_ServingStatus {
			r, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			return r.GetStatus()
		}
		if got := receive(); got != serving {
			t.Fatalf("first %v, want %v", got, serving)
		}
		start := time.Now()
		drained := make(chan error)
		go func() { drained <- registry.Drain(t.Context(), GracefulStop(server)) }()
		if got := receive(); got != notServing || time.Since(start) != 0 {
			t.Errorf("told %v after %v, want %v at once", got, time.Since(start), notServing)
		}
		if r, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || r.GetStatus() != notServing {
			t.Errorf("Check() = %v, %v, want %v", r.GetStatus(), err, notServing)
		}
		time.Sleep(10 * time.Second) // the server waits for the watcher
		cancel()
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// A result that comes late does not replace one that was asked for later.
func TestEvaluationsStayInOrder(t *testing.T) {
	t.Parallel()
	s, _, _ := newServer(t, nil)
	s.latest = 5
	s.evaluate(t.Context()) // the first
	r, err := s.service.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || r.GetStatus() != notServing {
		t.Errorf("%v, %v, want %v as before", r.GetStatus(), err, notServing)
	}
	// Nor does one of somebody who has gone.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	s.begun.Store(10)
	s.evaluate(gone)
	if s.latest != 5 {
		t.Errorf("evaluation %d was kept of a caller who has gone", s.latest)
	}
}

// slowService serves Check after a time, whether its caller waits or not.
type slowService struct {
	grpc_health_v1.UnimplementedHealthServer
	begun chan struct{}
	takes time.Duration
}

func (s *slowService) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.begun <- struct{}{}
	time.Sleep(s.takes)
	return &grpc_health_v1.HealthCheckResponse{Status: serving}, nil
}

func TestGracefulStopWaitsForCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network memnet.Network
		service := &slowService{begun: make(chan struct{}), takes: 3 * time.Second}
		server, addr := serve(t, &network, service)
		c := client(t, &network, addr)
		result := make(chan error)
		go func() {
			_, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			result <- err
		}()
		<-service.begun
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		stopped := make(chan error)
		go func() { stopped <- GracefulStop(server)(ctx) }()
		if err := <-result; err != nil {
			t.Errorf("the call in progress ends with %v", err)
		}
		if err := <-stopped; err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("GracefulStop() = %v after %v, want nil after 3s", err, time.Since(start))
		}
	})
}

func TestGracefulStopFallsBackToStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network memnet.Network
		s, _, _ := newServer(t, nil)
		server, addr := serve(t, &network, s)
		watcher := updates(t, client(t, &network, addr), "")
		if got, _ := next(t, watcher, time.Second); got != serving {
			t.Fatalf("first %v, want %v", got, serving)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := GracefulStop(server)(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("GracefulStop() = %v, want that its time was over", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("it took %v, want 10s", took)
		}
		if _, open := <-watcher; open {
			t.Error("the watcher was not cut off")
		}
	})
}

// stubbornService serves Check until it is released. It is not in a bubble, since the
// server then waits for a mutex, and with it the time in a bubble.
type stubbornService struct {
	grpc_health_v1.UnimplementedHealthServer
	begun, release chan struct{}
}

func (s *stubbornService) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	close(s.begun)
	<-s.release
	return &grpc_health_v1.HealthCheckResponse{Status: serving}, nil
}

func TestGracefulStopDoesNotWaitForHandlersThatIgnoreIt(t *testing.T) {
	t.Parallel()
	var network memnet.Network
	service := &stubbornService{begun: make(chan struct{}), release: make(chan struct{})}
	server, addr := serve(t, &network, service)
	defer close(service.release)
	c := client(t, &network, addr)
	result := make(chan error, 1)
	go func() {
		_, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		result <- err
	}()
	<-service.begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := GracefulStop(server)(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("GracefulStop() = %v, want that its time was over", err)
	}
	if err := <-result; status.Code(err) != codes.Unavailable {
		t.Errorf("the call in progress ends with %v, want UNAVAILABLE", err)
	}
}
