package grpcchaos

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/chaos"
	"github.com/uprung/uprung/internal/grpcx"
)

// mark is the field of a trailer that names the fault.
var mark = strings.ToLower(chaos.MarkField)

// UnaryClientInterceptor injects faults into calls before they are sent. It panics if i
// is nil.
func UnaryClientInterceptor(i *chaos.Injector) grpc.UnaryClientInterceptor {
	must(i)
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
		if _, err := meet(ctx, i, method); err != nil {
			return err
		}
		return invoker(ctx, method, request, reply, cc, options...)
	}
}

// StreamClientInterceptor injects faults into streams before they are opened. It panics if
// i is nil.
func StreamClientInterceptor(i *chaos.Injector) grpc.StreamClientInterceptor {
	must(i)
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		if _, err := meet(ctx, i, method); err != nil {
			return nil, err
		}
		return streamer(ctx, desc, cc, method, options...)
	}
}

// UnaryServerInterceptor injects faults into calls before their handlers. It panics if i
// is nil.
func UnaryServerInterceptor(i *chaos.Injector) grpc.UnaryServerInterceptor {
	must(i)
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		name, err := meet(ctx, i, info.FullMethod)
		if name != "" {
			_ = grpc.SetTrailer(ctx, metadata.Pairs(mark, name)) // an answer without a mark is one still
		}
		if err != nil {
			return nil, err
		}
		return handler(ctx, request)
	}
}

// StreamServerInterceptor injects faults into streams before their handlers. It panics if
// i is nil.
func StreamServerInterceptor(i *chaos.Injector) grpc.StreamServerInterceptor {
	must(i)
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		name, err := meet(stream.Context(), i, info.FullMethod)
		if name != "" {
			stream.SetTrailer(metadata.Pairs(mark, name))
		}
		if err != nil {
			return err
		}
		return handler(server, stream)
	}
}

// must panics if there is no injector.
func must(i *chaos.Injector) {
	if i == nil {
		panic("grpcchaos: the injector is nil")
	}
}

// meet injects a fault into a call, and returns its name if it meets one.
func meet(ctx context.Context, i *chaos.Injector, method string) (string, error) {
	n, ok := i.Next(chaos.Call{Context: ctx, Method: method})
	if !ok {
		return "", nil
	}
	defer n.End()
	goOn, err := n.Hold(ctx)
	if err != nil {
		return n.Fault.Name, status.FromContextError(ctx.Err()).Err()
	}
	if !goOn {
		return "", nil
	}
	return n.Fault.Name, injected(&n)
}

// injected returns the error of a fault, or nil if it has none.
func injected(n *chaos.Injection) error {
	f := &n.Fault
	played := n.Err(errors.New("connection reset"))
	code := codes.Code(f.Code)
	switch {
	case code != codes.OK:
	case f.Status != 0:
		code = codeOf(f.Status)
	case f.Reset:
		code = codes.Unavailable
	case f.Err != nil:
		if code = status.Code(f.Err); code == codes.OK {
			code = codes.Unknown
		}
	default:
		return nil
	}
	if played == nil {
		played = &chaos.Error{Fault: f.Name, Err: errors.New(code.String())}
	}
	s := status.New(code, played.Error())
	if f.RetryAfter > 0 {
		s = grpcx.WithRetryInfo(s, f.RetryAfter)
	}
	return &failure{err: played, status: s}
}

// failure is an error with a status that matches what it plays.
type failure struct {
	err    error
	status *status.Status
}

// Error returns the text that all errors of gRPC have.
func (f *failure) Error() string { return f.status.Err().Error() }

// Unwrap returns the [chaos.Error].
func (f *failure) Unwrap() error { return f.err }

// GRPCStatus is asked by package status, and by servers.
func (f *failure) GRPCStatus() *status.Status { return f.status }

// codeOf returns the code that means what a status of HTTP does (the comments of
// google.rpc.Code).
func codeOf(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusConflict:
		return codes.Aborted
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusInternalServerError:
		return codes.Internal
	case http.StatusNotImplemented:
		return codes.Unimplemented
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	}
	return codes.Unknown
}
