package grpcretry

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/retry"
)

// attemptKey is the key of the metadata that carry the number of an attempt, and of the
// trailer that says that there are no more.
const attemptKey = "uprung-attempt"

// UnaryClientInterceptor returns an interceptor that repeats unary calls of idempotent
// methods, given as /package.Service/Method. Nil means that none is. It panics if r is
// nil.
func UnaryClientInterceptor(r *retry.Retrier, idempotent func(fullMethod string) bool) grpc.UnaryClientInterceptor {
	must(r)
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
		ctx, nested := attemptOf(ctx)
		if nested || r.Mode() == uprung.Off {
			return invoker(ctx, method, request, reply, cc, options...)
		}
		ctx = withAttempt(ctx)
		loop := r.Begin(method)
		for number := 1; ; number++ {
			var trailer metadata.MD
			begun := time.Now()
			within, cancel := r.AttemptContext(numbered(ctx, number))
			err := invoker(within, method, request, reply, cc, append(options[:len(options):len(options)], grpc.Trailer(&trailer))...)
			outcome := grpcx.Outcome(within, err, trailer, time.Since(begun), 0)
			timedOut := errors.Is(context.Cause(within), uprung.ErrAttemptTimeout)
			cancel()
			switch {
			case outcome != uprung.Failure && outcome != uprung.Overload, ctx.Err() != nil:
				return err
			case slices.Contains(trailer.Get(attemptKey), retry.LastAttempt):
				retry.OriginOf(ctx).Spend()
				return err
			case idempotent == nil || !idempotent(method):
				loop.Stop()
				return err
			}
			after, _ := grpcx.RetryAfter(err, trailer)
			if timedOut {
				after = 0
			}
			if !loop.Again(ctx, after) {
				return err
			}
		}
	}
}

// StreamClientInterceptor returns an interceptor that opens streams again that could not
// be opened. It panics if r is nil.
func StreamClientInterceptor(r *retry.Retrier) grpc.StreamClientInterceptor {
	must(r)
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		ctx, nested := attemptOf(ctx)
		if nested || r.Mode() == uprung.Off {
			return streamer(ctx, desc, cc, method, options...)
		}
		ctx = withAttempt(ctx)
		loop := r.Begin(method)
		for number := 1; ; number++ {
			stream, err := streamer(numbered(ctx, number), desc, cc, method, options...)
			if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
				return stream, err
			}
			if _, rejected := errors.AsType[*uprung.Rejection](err); rejected || !loop.Move(ctx, false) {
				return nil, err
			}
		}
	}
}

// must panics without a retrier: the signature of an interceptor has no room for an
// error.
func must(r *retry.Retrier) {
	if r == nil {
		panic("grpcretry: the retrier is nil, want one of retry.New")
	}
}

// attemptOf reports whether a call is an attempt of somebody else's, of whoever made it or
// of whoever it is made for, and returns the context in which it says so.
func attemptOf(ctx context.Context) (context.Context, bool) {
	if md, ok := metadata.FromOutgoingContext(ctx); ok && len(md.Get(attemptKey)) > 0 {
		return ctx, true
	}
	if attempt := retry.OriginOf(ctx).Attempt(); attempt > 0 {
		return numbered(ctx, attempt), true
	}
	return ctx, false
}

// withAttempt returns a context in which a balancer notes what was tried.
func withAttempt(ctx context.Context) context.Context {
	if uprung.AttemptOf(ctx) != nil {
		return ctx
	}
	return uprung.WithAttempt(ctx, new(uprung.Attempt))
}

// numbered returns a context whose metadata carry the number of an attempt, from the
// second on.
func numbered(ctx context.Context, number int) context.Context {
	if number == 1 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, attemptKey, strconv.Itoa(number))
}
