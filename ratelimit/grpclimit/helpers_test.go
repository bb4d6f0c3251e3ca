package grpclimit

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/uprung/uprung/internal/memnet"
	"github.com/uprung/uprung/ratelimit"
)

type (
	request  = grpc_health_v1.HealthCheckRequest
	response = grpc_health_v1.HealthCheckResponse
)

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// limitOf returns a limit of n calls.
func limitOf(tb testing.TB, n int) *ratelimit.Concurrency {
	tb.Helper()
	c, err := ratelimit.NewConcurrency(ratelimit.AtMost(n), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// service is a server made of functions: a unary method, one that streams down, one
// that streams up, and one that does both.
type service struct {
	unary  func(context.Context) error
	stream func(grpc.ServerStream) error
}

const (
	unary = "/test.Service/Unary"
	down  = "/test.Service/Down"
	up    = "/test.Service/Up"
	both  = "/test.Service/Both"
)

// descs are those of the streaming methods.
var descs = map[string]*grpc.StreamDesc{
	down: {StreamName: "Down", ServerStreams: true},
	up:   {StreamName: "Up", ClientStreams: true},
	both: {StreamName: "Both", ServerStreams: true, ClientStreams: true},
}

// desc describes the service to grpc.
func (s *service) desc() *grpc.ServiceDesc {
	desc := &grpc.ServiceDesc{ServiceName: "test.Service", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Unary",
		Handler: func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			in := new(request)
			if err := decode(in); err != nil {
				return nil, err
			}
			handler := func(ctx context.Context, _ any) (any, error) { return new(response), s.unary(ctx) }
			if interceptor == nil {
				return handler(ctx, in)
			}
			return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: unary}, handler)
		},
	}}}
	for _, stream := range descs {
		own := *stream
		own.Handler = func(_ any, stream grpc.ServerStream) error { return s.stream(stream) }
		desc.Streams = append(desc.Streams, own)
	}
	return desc
}

// serve serves s in the bubble, and returns a connection to it.
func serve(t *testing.T, s *service, server []grpc.ServerOption, client ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	listener := memnet.Listen()
	srv := grpc.NewServer(server...)
	srv.RegisterService(s.desc(), s)
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(srv.Stop)
	conn, err := grpc.NewClient("passthrough:///server", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return listener.DialContext(ctx, "tcp", addr)
		}),
	}, client...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// limited are server options with the interceptors of c.
func limited(c *ratelimit.Concurrency, o *Options) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.UnaryInterceptor(UnaryServerInterceptor(c, o)), grpc.StreamInterceptor(StreamServerInterceptor(c, o))}
}

// limiting are dial options with the interceptors of c.
func limiting(c *ratelimit.Concurrency, o *Options) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithUnaryInterceptor(UnaryClientInterceptor(c, o)), grpc.WithStreamInterceptor(StreamClientInterceptor(c, o))}
}

// call makes a unary call.
func call(ctx context.Context, conn *grpc.ClientConn) error {
	return conn.Invoke(ctx, unary, new(request), new(response))
}
