package grpctoken

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/uprung/uprung/replicate"
)

// Key is the name of the metadata field, of calls and of trailers.
const Key = "uprung-bookmark"

// UnaryServerInterceptor returns an interceptor that gives each call a bookmark of a
// cluster. It panics if c is nil.
func UnaryServerInterceptor(c *replicate.Cluster) grpc.UnaryServerInterceptor {
	must(c)
	return func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		brought, ctx := begin(ctx, c)
		defer func() {
			if token := next(ctx, c, brought); token != "" {
				_ = grpc.SetTrailer(ctx, metadata.Pairs(Key, token)) // fails only outside of a call
			}
		}()
		return handler(ctx, request)
	}
}

// StreamServerInterceptor is [UnaryServerInterceptor] for streams, each as a whole.
func StreamServerInterceptor(c *replicate.Cluster) grpc.StreamServerInterceptor {
	must(c)
	return func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		brought, ctx := begin(stream.Context(), c)
		defer func() {
			if token := next(ctx, c, brought); token != "" {
				stream.SetTrailer(metadata.Pairs(Key, token))
			}
		}()
		return handler(server, &serverStream{stream, ctx})
	}
}

func must(c *replicate.Cluster) {
	if c == nil {
		panic("grpctoken: the cluster is nil")
	}
}

// begin returns the token of a call, and a context with the bookmark that it stands for.
func begin(ctx context.Context, c *replicate.Cluster) (brought string, with context.Context) {
	if values := metadata.ValueFromIncomingContext(ctx, Key); len(values) > 0 {
		brought = values[0]
	}
	b, _ := c.Open(brought) // what is not valid is counted, and begins anew
	return brought, c.WithBookmark(ctx, b)
}

// next returns the token for the next call, or "" if there is nothing new to tell.
func next(ctx context.Context, c *replicate.Cluster, brought string) string {
	token := c.Token(context.WithoutCancel(ctx), c.BookmarkOf(ctx))
	if token == brought {
		return ""
	}
	return token
}

// serverStream is a stream with another context.
type serverStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // what Context returns
}

func (s *serverStream) Context() context.Context { return s.ctx }
