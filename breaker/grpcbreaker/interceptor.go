package grpcbreaker

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/internal/grpcx"
)

// Select finds the breaker of a call, whose method is /package.Service/Method. Nil means
// that the call has none.
type Select func(ctx context.Context, fullMethod string) *breaker.Breaker

// One has one breaker for all calls. It panics if b is nil.
func One(b *breaker.Breaker) Select {
	if b == nil {
		panic("grpcbreaker: the breaker is nil, want one of breaker.New")
	}
	return func(context.Context, string) *breaker.Breaker { return b }
}

// ByMethod has a breaker for each method. It panics if g is nil. In a server, where
// clients can ask for methods that there are not, gRPC refuses those first.
func ByMethod(g *breaker.Group[string]) Select {
	if g == nil {
		panic("grpcbreaker: the group is nil, want one of breaker.NewGroup")
	}
	return func(_ context.Context, fullMethod string) *breaker.Breaker { return g.Breaker(fullMethod) }
}

// Options are the settings of an interceptor. The zero value of each field is its
// default, and nil options are all defaults.
type Options struct {
	// Patience is how long an answer must have been waited for until DEADLINE_EXCEEDED is
	// a failure. Zero means [uprung.DefaultPatience].
	Patience time.Duration
}

// guard is what interceptors are made of.
type guard struct {
	of       Select
	patience time.Duration
}

func newGuard(of Select, o *Options) *guard {
	if of == nil {
		panic("grpcbreaker: of is nil, want One or ByMethod")
	}
	if o == nil {
		o = &Options{}
	}
	return &guard{of, o.Patience}
}

// begin asks for a permit.
func (g *guard) begin(ctx context.Context, method string) (*call, error) {
	c := &call{guard: g, ctx: ctx, begun: time.Now()}
	b := g.of(ctx, method)
	if b == nil {
		return c, nil
	}
	var err error
	if c.permit, err = b.Allow(); err != nil {
		if rejection, ok := errors.AsType[*uprung.Rejection](err); ok {
			err = grpcx.Refuse(codes.Unavailable, rejection)
		}
		return nil, err
	}
	return c, nil
}

// call is a call that was let through.
type call struct {
	guard  *guard
	ctx    context.Context //nolint:containedctx // of the call
	begun  time.Time
	permit breaker.Permit
}

// end says how it has ended.
func (c *call) end(err error, trailer metadata.MD) {
	c.permit.Done(grpcx.Outcome(c.ctx, err, trailer, time.Since(c.begun), c.guard.patience))
}

// UnaryClientInterceptor returns an interceptor that stops unary calls to what fails. It
// panics if of is nil.
func UnaryClientInterceptor(of Select, o *Options) grpc.UnaryClientInterceptor {
	g := newGuard(of, o)
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
		c, err := g.begin(ctx, method)
		if err != nil {
			return err
		}
		returned := false
		defer func() {
			if !returned { // a panic, which goes on
				c.permit.Done(uprung.Failure)
			}
		}()
		var trailer metadata.MD
		err = invoker(ctx, method, request, reply, cc, append(options[:len(options):len(options)], grpc.Trailer(&trailer))...)
		returned = true
		c.end(err, trailer)
		return err
	}
}

// UnaryServerInterceptor returns an interceptor that stops calls of handlers that fail.
// It panics if of is nil.
func UnaryServerInterceptor(of Select, o *Options) grpc.UnaryServerInterceptor {
	g := newGuard(of, o)
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		c, err := g.begin(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		returned := false
		defer func() {
			if !returned { // a panic, which goes on
				c.permit.Done(uprung.Failure)
			}
		}()
		reply, err := handler(ctx, request)
		returned = true
		c.end(err, nil)
		return reply, err
	}
}
