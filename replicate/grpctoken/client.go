package grpctoken

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// A Jar keeps the token of one client of one service between calls. The zero value is
// that of a client that has done nothing yet. It is safe for concurrent use; of two calls
// at a time the token of the one that ends last is kept, so that what the other wrote may
// not be seen by the next.
type Jar struct {
	mu    sync.Mutex
	token string // guarded by mu
}

// Token returns the token, for keeping it elsewhere.
func (j *Jar) Token() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.token
}

// SetToken sets the token, such as to one that was kept elsewhere.
func (j *Jar) SetToken(token string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.token = token
}

type jarKey struct{}

// WithJar returns a context whose calls are those of the client of this jar.
func WithJar(ctx context.Context, j *Jar) context.Context {
	return context.WithValue(ctx, jarKey{}, j)
}

// outgoing returns the jar of a context, or nil, and the context for its call.
func outgoing(ctx context.Context) (*Jar, context.Context) {
	j, _ := ctx.Value(jarKey{}).(*Jar)
	if j == nil {
		return nil, ctx
	}
	if token := j.Token(); token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, Key, token)
	}
	return j, ctx
}

// keep takes the token from a trailer.
func (j *Jar) keep(trailer metadata.MD) {
	if values := trailer.Get(Key); len(values) > 0 {
		j.SetToken(values[0])
	}
}

// UnaryClientInterceptor returns an interceptor that sends the token of the [Jar] in the
// context, and keeps the one that comes back. Calls without a Jar are left as they are.
func UnaryClientInterceptor() grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
		jar, ctx := outgoing(ctx)
		if jar == nil {
			return invoker(ctx, method, request, reply, cc, options...)
		}
		var trailer metadata.MD
		err := invoker(ctx, method, request, reply, cc, append(options[:len(options):len(options)], grpc.Trailer(&trailer))...)
		jar.keep(trailer)
		return err
	}
}

// StreamClientInterceptor is [UnaryClientInterceptor] for streams: the token comes when
// the stream has been received to its end.
func StreamClientInterceptor() grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		jar, ctx := outgoing(ctx)
		stream, err := streamer(ctx, desc, cc, method, options...)
		if err != nil || jar == nil {
			return stream, err
		}
		return &clientStream{stream, jar, !desc.ServerStreams}, nil
	}
}

// clientStream takes the token when the stream ends.
type clientStream struct {
	grpc.ClientStream
	jar    *Jar
	single bool // there is one message to receive, and the stream ends with it
}

func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil || s.single {
		s.jar.keep(s.Trailer())
	}
	return err
}
