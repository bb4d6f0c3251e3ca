package grpchealth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	grpcservice "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/uprung/uprung/health"
)

// DefaultInterval is the time between two evaluations by [Server.Run] by default.
const DefaultInterval = time.Second

var _ grpc_health_v1.HealthServer = (*Server)(nil)

// ServerOptions are the settings of a [Server]. The zero value of each field is its
// default.
type ServerOptions struct {
	// Services are the services whose state can be asked for besides that of the
	// server as a whole, which has no name. All have the same state. Zero means none.
	Services []string
	// Interval is the time between two evaluations by Run. Zero means
	// [DefaultInterval].
	Interval time.Duration
}

// A Server serves grpc.health.v1 from the readiness of a registry: SERVING or
// NOT_SERVING. Streams and their watchers are kept by package health of grpc.
//
// It starts no goroutine, and is safe for concurrent use. Use [NewServer], and
// grpc_health_v1.RegisterHealthServer.
type Server struct {
	grpc_health_v1.UnimplementedHealthServer

	registry *health.Registry
	o        ServerOptions
	service  *grpcservice.Server
	begun    atomic.Uint64 // evaluations
	running  atomic.Bool

	mu     sync.Mutex
	latest uint64 // evaluation that was begun last of those whose result is set; guarded by mu
}

// NewServer returns a server for a registry. Nil options are the defaults. The error
// names everything that is not valid.
func NewServer(registry *health.Registry, o *ServerOptions) (*Server, error) {
	if o == nil {
		o = &ServerOptions{}
	}
	var errs []error
	if registry == nil {
		errs = append(errs, errors.New("grpchealth: registry is nil, want what knows the state of the program"))
	}
	if o.Interval < 0 {
		errs = append(errs, fmt.Errorf("grpchealth: ServerOptions.Interval is %v, want >= 0", o.Interval))
	}
	for i, name := range o.Services {
		if slices.Contains(o.Services[:i], name) {
			errs = append(errs, fmt.Errorf("grpchealth: ServerOptions.Services[%d] is %q, want each service once", i, name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := &Server{registry: registry, o: *o, service: grpcservice.NewServer()}
	s.o.Interval = cmp.Or(o.Interval, DefaultInterval)
	s.o.Services = slices.Concat([]string{""}, o.Services)
	s.set(grpc_health_v1.HealthCheckResponse_NOT_SERVING) // nothing is known yet
	return s, nil
}

// set gives all services a state.
func (s *Server) set(state grpc_health_v1.HealthCheckResponse_ServingStatus) {
	for _, name := range s.o.Services {
		s.service.SetServingStatus(name, state)
	}
}

// evaluate finds out about readiness and tells the watchers. Of evaluations at one
// time, the result of the one that was begun last stays.
func (s *Server) evaluate(ctx context.Context) {
	number := s.begun.Add(1)
	err := s.registry.Readiness(ctx)
	if ctx.Err() != nil && !errors.Is(err, health.ErrDraining) {
		return // whoever asked has gone
	}
	state := grpc_health_v1.HealthCheckResponse_SERVING
	if err != nil {
		state = grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if number > s.latest {
		s.latest = number
		s.set(state)
	}
}

// Check evaluates readiness and returns the state of a service. One that is not
// registered is an error, NOT_FOUND.
func (s *Server) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.evaluate(ctx)
	return s.service.Check(ctx, r)
}

// List evaluates readiness and returns the states of all services.
func (s *Server) List(ctx context.Context, r *grpc_health_v1.HealthListRequest) (*grpc_health_v1.HealthListResponse, error) {
	s.evaluate(ctx)
	return s.service.List(ctx, r)
}

// Watch evaluates readiness, sends the state of a service, and then sends each
// change until the client goes.
func (s *Server) Watch(r *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	s.evaluate(stream.Context())
	return s.service.Watch(r, stream)
}

// Run evaluates readiness at once, then each Interval, and when a drain begins, so
// that watchers are told of changes. It returns nil when ctx ends, and an error if it
// is running already.
func (s *Server) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("grpchealth: Run is running already")
	}
	defer s.running.Store(false)
	ticker := time.NewTicker(s.o.Interval)
	defer ticker.Stop()
	drain := s.registry.DrainStarted()
	for {
		s.evaluate(ctx)
		select {
		case <-ticker.C:
		case <-drain:
			drain = nil
		case <-ctx.Done():
			return nil
		}
	}
}
