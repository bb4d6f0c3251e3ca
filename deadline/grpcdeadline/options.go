package grpcdeadline

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/internal/grpcx"
)

// Options are the settings of an interceptor. The zero value of each field is its
// default, and nil options are all defaults.
type Options struct {
	// Skip exempts calls: those for which it returns true have no deadline by this
	// package and are not counted. The method is /package.Service/Method. Nil exempts
	// none.
	Skip func(ctx context.Context, fullMethod string) bool

	// Key says for whom a Mode of [uprung.Percent] enforces, and has no other use. Nil
	// means the address of the peer in a server, and the method in a client. Calls
	// without a key are as one.
	Key func(ctx context.Context, fullMethod string) (string, bool)
}

// begin is one of the two methods of a deadline by which work begins.
type begin func(ctx context.Context, key string) (context.Context, func(), error)

// call begins a call, or returns the refusal as a status.
func (o *Options) call(ctx context.Context, method string, begin begin, keyOf func(context.Context, string) (string, bool)) (context.Context, func(), error) {
	if o.Skip != nil && o.Skip(ctx, method) {
		return ctx, func() {}, nil
	}
	if o.Key != nil {
		keyOf = o.Key
	}
	k, _ := keyOf(ctx, method)
	within, end, err := begin(ctx, k)
	if rejection, ok := errors.AsType[*uprung.Rejection](err); ok {
		err = grpcx.Refuse(codes.DeadlineExceeded, rejection)
	}
	return within, end, err
}

// byPeer is the key of calls that come in.
func byPeer(ctx context.Context, _ string) (string, bool) { return grpcx.PeerKey(ctx, nil) }

// byMethod is the key of calls that go out.
func byMethod(_ context.Context, method string) (string, bool) { return method, true }

// must panics without a deadline, which is a mistake in the program.
func must(d *deadline.Deadline) {
	if d == nil {
		panic("grpcdeadline: the deadline is nil")
	}
}

// copied returns a copy of options, so that later changes have no effect.
func copied(o *Options) *Options {
	if o == nil {
		return &Options{}
	}
	own := *o
	return &own
}
