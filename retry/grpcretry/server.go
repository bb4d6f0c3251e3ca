package grpcretry

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/uprung/uprung/retry"
)

// last returns the trailer of a call that is not to be repeated.
func last() metadata.MD { return metadata.Pairs(attemptKey, retry.LastAttempt) }

// UnaryServerInterceptor returns what [retry.Middleware] is for HTTP: calls and requests
// that a handler makes under its context on behalf of an attempt are attempts too, and when
// a Retrier has given up on one of them, the error of the handler is not repeated either.
func UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		within, origin := withOrigin(ctx)
		response, err := handler(within, request)
		if err != nil && origin.Spent() {
			_ = grpc.SetTrailer(ctx, last()) // it fails if there is no server around
		}
		return response, err
	}
}

// StreamServerInterceptor is [UnaryServerInterceptor] for streams. What is opened is not
// repeated, but handlers of streams make calls as well.
func StreamServerInterceptor() grpc.StreamServerInterceptor {
	return func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, origin := withOrigin(stream.Context())
		err := handler(server, &serverStream{stream, ctx})
		if err != nil && origin.Spent() {
			stream.SetTrailer(last())
		}
		return err
	}
}

// withOrigin is [retry.WithOrigin] for a call that came in.
func withOrigin(ctx context.Context) (context.Context, *retry.Origin) {
	return retry.WithOrigin(ctx, metadata.ValueFromIncomingContext(ctx, attemptKey))
}

// serverStream is a stream with another context.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // what Context returns
}

func (s *serverStream) Context() context.Context { return s.ctx }
