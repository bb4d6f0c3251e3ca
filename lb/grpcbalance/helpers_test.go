package grpcbalance

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/internal/memnet"
)

var names atomic.Int64

// registered returns a balancer under a name that is new. grpc-go's registry has no
// lock: call it before t.Parallel, so that all are there when the first test goes on.
func registered(t *testing.T, o *Options) *Balancer {
	t.Helper()
	b, err := New(fmt.Sprintf("%s-%d", strings.ToLower(t.Name()), names.Add(1)), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Register(); err != nil {
		t.Fatal(err)
	}
	return b
}

// bubble runs f in a synctest bubble, in parallel with other tests. It fails if a
// goroutine is left at the end, so that each test is one of leaks.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// service answers Check with what check returns, and serves Watch by watch. Both can be
// nil.
type service struct {
	grpc_health_v1.UnimplementedHealthServer
	check func(ctx context.Context) error
	watch func(stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error
	calls atomic.Int64
}

func (s *service) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.calls.Add(1)
	if s.check != nil {
		if err := s.check(ctx); err != nil {
			return nil, err
		}
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func (s *service) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	s.calls.Add(1)
	if s.watch != nil {
		return s.watch(stream)
	}
	if err := stream.Send(&grpc_health_v1.HealthCheckResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return status.FromContextError(stream.Context().Err()).Err()
}

// taking answers after a time.
func taking(d time.Duration) *service {
	return &service{check: func(context.Context) error {
		time.Sleep(d)
		return nil
	}}
}

// failing fails five times as fast as others answer. In a bubble, what takes no time at
// all can be done without end while others take theirs.
func failing(err error) *service {
	return &service{check: func(context.Context) error {
		time.Sleep(time.Millisecond)
		return err
	}}
}

// hanging never answers.
func hanging() *service {
	return &service{check: func(ctx context.Context) error {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}}
}

// fleet is a number of servers in memory, whose addresses are names, for tests in a
// bubble.
type fleet struct {
	t        *testing.T
	network  memnet.Network
	resolver *manual.Resolver

	mu      sync.Mutex
	addrs   map[string]string       // of listeners, by name; guarded by mu
	servers map[string]*grpc.Server // guarded by mu
}

// newFleet starts a server for each service: a, b, c and so on. They end with the test.
func newFleet(t *testing.T, services ...*service) *fleet {
	t.Helper()
	f := &fleet{
		t: t, resolver: manual.NewBuilderWithScheme("fleet"),
		addrs: map[string]string{}, servers: map[string]*grpc.Server{},
	}
	var all []string
	for i, s := range services {
		name := string(rune('a' + i))
		f.start(name, s)
		all = append(all, name)
	}
	f.resolver.InitialState(endpoints(all...))
	return f
}

// endpoints returns what a resolver finds.
func endpoints(names ...string) resolver.State {
	var s resolver.State
	for _, name := range names {
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: name}}})
	}
	return s
}

// start starts a server.
func (f *fleet) start(name string, s grpc_health_v1.HealthServer) {
	server, addr := grpctest.Listen(f.t, &f.network, func(r grpc.ServiceRegistrar) { grpc_health_v1.RegisterHealthServer(r, s) })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addrs[name], f.servers[name] = addr, server
}

// stop kills a server.
func (f *fleet) stop(name string) {
	f.mu.Lock()
	server := f.servers[name]
	delete(f.addrs, name)
	f.mu.Unlock()
	server.Stop()
}

func (f *fleet) dialContext(ctx context.Context, name string) (net.Conn, error) {
	f.mu.Lock()
	addr := f.addrs[name]
	f.mu.Unlock()
	return f.network.DialContext(ctx, "tcp", addr)
}

// conn returns a connection to the fleet, which is closed in the end.
func (f *fleet) conn(b *Balancer, o ...grpc.DialOption) *grpc.ClientConn {
	f.t.Helper()
	conn, err := grpc.NewClient("fleet:///", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(f.dialContext),
		grpc.WithResolvers(f.resolver),
		grpc.WithDefaultServiceConfig(ServiceConfig(b.name)),
		grpc.WithChainStreamInterceptor(StreamClientInterceptor()),
	}, o...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// client returns a client of the fleet, all of whose servers are connected.
func (f *fleet) client(b *Balancer, o ...grpc.DialOption) grpc_health_v1.HealthClient {
	f.t.Helper()
	conn := f.conn(b, o...)
	conn.Connect()
	synctest.Wait()
	return grpc_health_v1.NewHealthClient(conn)
}

// check makes a call.
func check(ctx context.Context, c grpc_health_v1.HealthClient, o ...grpc.CallOption) error {
	_, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, o...)
	return err
}

// load makes n calls in all, so many at a time, with a timeout of 2s each, and returns
// how many failed.
func load(t *testing.T, c grpc_health_v1.HealthClient, n, workers int) (failed int64) {
	t.Helper()
	var made, failures atomic.Int64
	var callers sync.WaitGroup
	for range workers {
		callers.Go(func() {
			for made.Add(1) <= int64(n) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				if check(ctx, c) != nil {
					failures.Add(1)
				}
				cancel()
			}
		})
	}
	callers.Wait()
	return failures.Load()
}

// watch opens a stream and waits for its first message, if there is to be one.
func watch(ctx context.Context, t *testing.T, c grpc_health_v1.HealthClient, receive bool) grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse] {
	t.Helper()
	stream, err := c.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if receive {
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	return stream
}

// of returns the figures of an endpoint.
func (s Stats) of(t *testing.T, id string) EndpointStats {
	t.Helper()
	for _, e := range s.Endpoints {
		if e.ID == id {
			return e
		}
	}
	t.Fatalf("no endpoint %q in %+v", id, s.Endpoints)
	return EndpointStats{}
}

// ids returns the IDs of the endpoints.
func (s Stats) ids() string {
	var all []string
	for _, e := range s.Endpoints {
		all = append(all, e.ID)
	}
	return strings.Join(all, " ")
}
