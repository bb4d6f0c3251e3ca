package grpclimit

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/tap"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpcx"
)

// RateUnaryServerInterceptor returns an interceptor that passes on calls as often as the
// limit of their key grants, and refuses the others. It panics if limiter is nil.
func RateUnaryServerInterceptor(limiter Limiter, o *RateOptions) grpc.UnaryServerInterceptor {
	r := newServerRate(limiter, o)
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := r.take(ctx, info.FullMethod); err != nil {
			_ = grpc.SetTrailer(ctx, pushback(err)) // it fails if there is no server around
			return nil, err
		}
		return handler(ctx, request)
	}
}

// RateStreamServerInterceptor is [RateUnaryServerInterceptor] for streams: the opening of
// one counts, and not its messages.
func RateStreamServerInterceptor(limiter Limiter, o *RateOptions) grpc.StreamServerInterceptor {
	r := newServerRate(limiter, o)
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if err := r.take(stream.Context(), info.FullMethod); err != nil {
			stream.SetTrailer(pushback(err))
			return err
		}
		return handler(server, stream)
	}
}

// Local is a [Limiter] that decides in the process, without waiting for anybody, such as a
// [ratelimit.Limiter] or a [ratelimit.Group].
type Local interface {
	Limiter
	// AllowN is Take for those who want a yes or a no.
	AllowN(key string, n int64) bool
}

// RateTap returns what limits all calls of a server, unary and streams, as soon as their
// header is there: no message is received or decoded for those that it refuses, and no
// goroutine started. It is for [grpc.InTapHandle], in place of the interceptors for
// servers, and panics if limiter is nil.
//
// It has no trailer, so that only a RetryInfo says when to try again. What it calls is
// called by the goroutine that reads a connection, and must be quick. It sees no
// calls that arrive through [grpc.Server.ServeHTTP], and what interceptors would put
// into the context, such as an account, is not there yet. Package tap is an experiment
// of grpc.
func RateTap(limiter Local, o *RateOptions) tap.ServerInHandle {
	r := newServerRate(limiter, o)
	return func(ctx context.Context, info *tap.Info) (context.Context, error) {
		return ctx, r.take(ctx, info.FullMethodName)
	}
}

// newServerRate is newRate for calls that come in.
func newServerRate(limiter Limiter, o *RateOptions) *rate {
	r := newRate(limiter, o)
	if r.o.Key == nil {
		r.o.Key = ByPeer(nil)
	}
	return r
}

// pushback is the trailer of a refusal.
func pushback(err error) metadata.MD {
	if rejection, ok := errors.AsType[*uprung.Rejection](err); ok {
		return grpcx.Pushback(rejection.RetryAfter)
	}
	return nil
}
