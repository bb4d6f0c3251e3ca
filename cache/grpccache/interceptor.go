package grpccache

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// UnaryServerInterceptor returns an interceptor that answers from the cache what it can, and
// has the handler answer the rest.
func (c *Cache) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		m, encoded, ok, err := c.do(ctx, info.FullMethod, request,
			func(ctx context.Context, _ *method, request proto.Message) (proto.Message, error) {
				reply, err := handler(ctx, request)
				if err != nil {
					return nil, err
				}
				message, ok := reply.(proto.Message)
				if !ok {
					return nil, status.Errorf(codes.Internal, "grpccache: reply is a %T, want a message of protobuf", reply)
				}
				return message, nil
			})
		switch {
		case !ok:
			return handler(ctx, request)
		case err != nil:
			return nil, err
		}
		reply := m.reply.New().Interface()
		return reply, decode(encoded, reply)
	}
}

// UnaryClientInterceptor returns an interceptor that answers from the cache what it can, and
// calls the server for the rest.
func (c *Cache) UnaryClientInterceptor() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, fullMethod string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		into, is := reply.(proto.Message)
		if !is || particular(opts) {
			return invoke(ctx, fullMethod, request, reply, cc, opts...)
		}
		_, encoded, ok, err := c.do(ctx, fullMethod, request,
			func(ctx context.Context, m *method, request proto.Message) (proto.Message, error) {
				reply := m.reply.New().Interface()
				return reply, invoke(ctx, fullMethod, request, reply, cc, opts...)
			})
		switch {
		case !ok:
			return invoke(ctx, fullMethod, request, reply, cc, opts...)
		case err != nil:
			return err
		}
		return decode(encoded, into)
	}
}

// decode fills a reply, which is empty if there are no bytes.
func decode(encoded []byte, reply proto.Message) error {
	if err := proto.Unmarshal(encoded, reply); err != nil {
		return status.Error(codes.Internal, "grpccache: malformed reply")
	}
	return nil
}

// particular reports whether the caller wants to know more of the call than its reply, or
// says with it who it is.
func particular(opts []grpc.CallOption) bool {
	for _, o := range opts {
		switch o.(type) {
		case grpc.HeaderCallOption, grpc.TrailerCallOption, grpc.PeerCallOption, grpc.OnFinishCallOption, grpc.PerRPCCredsCallOption:
			return true
		}
	}
	return false
}
