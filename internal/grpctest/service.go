package grpctest

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

type (
	// Request is what methods of a [Service] are asked.
	Request = grpc_health_v1.HealthCheckRequest
	// Response is what they answer.
	Response = grpc_health_v1.HealthCheckResponse
)

// The methods of a [Service].
const (
	Unary = "/test.Service/Unary"
	Down  = "/test.Service/Down" // streams down
	Up    = "/test.Service/Up"   // streams up
	Both  = "/test.Service/Both" // streams both ways
)

// Service is a service made of functions: a unary method, one that streams down, one that
// streams up, and one that does both.
type Service struct {
	Unary  func(context.Context) error
	Stream func(grpc.ServerStream) error
}

// Desc describes a streaming method to a client.
func Desc(method string) *grpc.StreamDesc {
	switch method {
	case Down:
		return &grpc.StreamDesc{StreamName: "Down", ServerStreams: true}
	case Up:
		return &grpc.StreamDesc{StreamName: "Up", ClientStreams: true}
	}
	return &grpc.StreamDesc{StreamName: "Both", ServerStreams: true, ClientStreams: true}
}

// Register registers the service.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	desc := &grpc.ServiceDesc{ServiceName: "test.Service", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Unary", Handler: s.unary,
	}}}
	for _, method := range []string{Down, Up, Both} {
		stream := *Desc(method)
		stream.Handler = func(_ any, stream grpc.ServerStream) error { return s.Stream(stream) }
		desc.Streams = append(desc.Streams, stream)
	}
	r.RegisterService(desc, s)
}

// unary is what protoc generates for a method.
//
//nolint:revive // the order is grpc's
func (s *Service) unary(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
	in := new(Request)
	if err := decode(in); err != nil {
		return nil, err
	}
	handler := func(ctx context.Context, _ any) (any, error) { return new(Response), s.Unary(ctx) }
	if interceptor == nil {
		return handler(ctx, in)
	}
	return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: Unary}, handler)
}

// Call makes a unary call.
func Call(ctx context.Context, conn grpc.ClientConnInterface, o ...grpc.CallOption) error {
	return conn.Invoke(ctx, Unary, new(Request), new(Response), o...)
}

// Open opens a stream.
func Open(ctx context.Context, conn grpc.ClientConnInterface, method string, o ...grpc.CallOption) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, Desc(method), method, o...)
}

// Drain says that nothing more is sent, receives what there is, and returns the error with
// which a stream ends, or nil if it ends well.
func Drain(s grpc.ClientStream) error {
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		switch err := s.RecvMsg(new(Response)); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
