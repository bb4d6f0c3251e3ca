package grpcdeadline

import (
	"context"

	"google.golang.org/grpc"

	"github.com/uprung/uprung/deadline"
)

// UnaryServerInterceptor returns an interceptor that gives each call a deadline, and
// refuses those that have too little time left. It panics if d is nil.
func UnaryServerInterceptor(d *deadline.Deadline, o *Options) grpc.UnaryServerInterceptor {
	must(d)
	o = copied(o)
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx, end, err := o.call(ctx, info.FullMethod, d.Begin, byPeer)
		if err != nil {
			return nil, err
		}
		defer end()
		return handler(ctx, request)
	}
}

// StreamServerInterceptor is [UnaryServerInterceptor] for streams, each as a whole.
func StreamServerInterceptor(d *deadline.Deadline, o *Options) grpc.StreamServerInterceptor {
	must(d)
	o = copied(o)
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, end, err := o.call(stream.Context(), info.FullMethod, d.Begin, byPeer)
		if err != nil {
			return err
		}
		defer end()
		return handler(server, &serverStream{ServerStream: stream, ctx: ctx})
	}
}

// serverStream is a stream with another context.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // what Context returns
}

func (s *serverStream) Context() context.Context { return s.ctx }
