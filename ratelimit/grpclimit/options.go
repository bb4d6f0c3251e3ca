package grpclimit

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/ratelimit"
)

// Options are the settings of an interceptor. The zero value of each field is its
// default, and nil options are all defaults.
type Options struct {
	// Claim says whose a call is and what it gives way to. A Mode of [uprung.Percent] is
	// one of its tenants. It is called concurrently. Nil means nobody's and normal.
	Claim func(ctx context.Context, fullMethod string) ratelimit.Claim

	// Lasting says of a stream that it is meant to last, such as a watch: once it has
	// begun it has one of the places for streams. The method is
	// /package.Service/Method. Nil means that no stream is.
	Lasting func(ctx context.Context, fullMethod string) bool

	// Skip exempts calls: those for which it returns true are not counted. Nil exempts
	// none.
	Skip func(ctx context.Context, fullMethod string) bool
}

// guard is what the interceptors have in common.
type guard struct {
	limit *ratelimit.Concurrency
	o     Options
}

// newGuard panics without a limit, which is a mistake in the program.
func newGuard(limit *ratelimit.Concurrency, o *Options) *guard {
	if limit == nil {
		panic("grpclimit: the limit is nil")
	}
	g := &guard{limit: limit}
	if o != nil {
		g.o = *o
	}
	return g
}

// begin takes a place for a call. Its error is a status.
func (g *guard) begin(ctx context.Context, method string) (ratelimit.Token, error) {
	if g.o.Skip != nil && g.o.Skip(ctx, method) {
		return ratelimit.Token{}, nil
	}
	var claim ratelimit.Claim
	if g.o.Claim != nil {
		claim = g.o.Claim(ctx, method)
	}
	token, err := g.limit.Acquire(ctx, claim)
	if err == nil {
		return token, nil
	}
	rejection, rejected := errors.AsType[*uprung.Rejection](err)
	switch {
	case !rejected:
		return token, grpcx.Refuse(codes.Canceled, &uprung.Rejection{Kind: uprung.KindConcurrency, Reason: err, RetryAfter: uprung.Never})
	case errors.Is(err, ratelimit.ErrExpired):
		return token, grpcx.Refuse(codes.DeadlineExceeded, rejection)
	}
	return token, grpcx.Refuse(codes.Unavailable, rejection)
}

// beginStream takes a place for a stream.
func (g *guard) beginStream(ctx context.Context, method string) (ratelimit.Token, error) {
	token, err := g.begin(ctx, method)
	if err == nil && g.o.Lasting != nil && g.o.Lasting(ctx, method) {
		token = token.Stream()
	}
	return token, err
}

// ofServer classifies the end of a call in a server.
func ofServer(ctx context.Context, err error, took time.Duration) uprung.Outcome {
	outcome := grpcx.Outcome(ctx, err, nil, took, 0)
	if outcome == uprung.Overload {
		return uprung.Ignored // the refusal of another guard within, which took no work
	}
	return outcome
}

// ofClient classifies the end of a call in a client.
func ofClient(ctx context.Context, err error, trailer metadata.MD, took time.Duration) uprung.Outcome {
	return grpcx.Outcome(ctx, err, trailer, took, 0)
}
