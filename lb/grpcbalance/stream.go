package grpcbalance

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
)

// streamKey is that of the context value which marks a stream: its full method.
type streamKey struct{}

// StreamClientInterceptor tells balancers that a call is a stream, so that they expect
// no answer by and by. It does nothing else, costs unary calls nothing, and may stand
// anywhere among interceptors. gRPC shows a balancer no difference between the two.
func StreamClientInterceptor() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		return streamer(context.WithValue(ctx, streamKey{}, method), desc, cc, method, opts...)
	}
}

// isStream reports whether a call is known to be a stream. A unary call that is made
// with the context of a stream is none.
func isStream(info balancer.PickInfo) bool {
	method, ok := info.Ctx.Value(streamKey{}).(string)
	return ok && method == info.FullMethodName
}
