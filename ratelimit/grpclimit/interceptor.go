package grpclimit

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
)

// UnaryServerInterceptor returns an interceptor that gives each call a place, or refuses
// it. It panics if limit is nil.
func UnaryServerInterceptor(limit *ratelimit.Concurrency, o *Options) grpc.UnaryServerInterceptor {
	g := newGuard(limit, o)
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		token, err := g.begin(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		start, outcome := time.Now(), uprung.Failure // unless the handler returns
		defer func() { token.Release(outcome) }()
		response, err := handler(ctx, request)
		outcome = ofServer(ctx, err, time.Since(start))
		return response, err
	}
}

// StreamServerInterceptor is [UnaryServerInterceptor] for streams, each from its opening
// to its end.
func StreamServerInterceptor(limit *ratelimit.Concurrency, o *Options) grpc.StreamServerInterceptor {
	g := newGuard(limit, o)
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		token, err := g.beginStream(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		defer token.Leave()
		return handler(server, stream)
	}
}

// UnaryClientInterceptor returns an interceptor that gives each call a place, or refuses
// it before anything is sent. It panics if limit is nil.
func UnaryClientInterceptor(limit *ratelimit.Concurrency, o *Options) grpc.UnaryClientInterceptor {
	g := newGuard(limit, o)
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
		token, err := g.begin(ctx, method)
		if err != nil {
			return err
		}
		start, outcome := time.Now(), uprung.Failure // unless the call returns
		defer func() { token.Release(outcome) }()
		var trailer metadata.MD
		err = invoker(ctx, method, request, reply, cc, append(options[:len(options):len(options)], grpc.Trailer(&trailer))...)
		outcome = ofClient(ctx, err, trailer, time.Since(start))
		return err
	}
}

// StreamClientInterceptor is [UnaryClientInterceptor] for streams, each from its opening
// to its end: an error of RecvMsg, which io.EOF is, the only message that there is to
// receive, or the end of its context.
func StreamClientInterceptor(limit *ratelimit.Concurrency, o *Options) grpc.StreamClientInterceptor {
	g := newGuard(limit, o)
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		token, err := g.beginStream(ctx, method)
		if err != nil {
			return nil, err
		}
		opened := false
		defer func() {
			if !opened { // an error, or a panic, which goes on
				token.Leave()
			}
		}()
		start := time.Now()
		stream, err := streamer(ctx, desc, cc, method, options...)
		if err != nil {
			if outcome := ofClient(ctx, err, nil, time.Since(start)); outcome == uprung.Overload {
				token.Answered(outcome)
			}
			return nil, err
		}
		opened = true
		s := &clientStream{ClientStream: stream, token: token, single: !desc.ServerStreams}
		s.release = context.AfterFunc(ctx, func() { s.end(nil, nil) })
		return s, nil
	}
}

// clientStream gives its place back when it ends.
type clientStream struct {
	grpc.ClientStream
	token   ratelimit.Token
	single  bool // there is one message to receive, and the stream ends with it
	ended   atomic.Bool
	release func() bool
}

// RecvMsg receives a message. Any error is the end, and so is the only message.
func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	switch {
	case err != nil:
		s.release()
		s.end(err, s.Trailer())
	case s.single:
		s.release()
		s.end(nil, nil)
	}
	return err
}

// SendMsg sends a message. An error is the end, but for io.EOF: then RecvMsg has the
// error of the stream.
func (s *clientStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err != nil && !errors.Is(err, io.EOF) {
		s.release()
		s.end(err, nil)
	}
	return err
}

// end gives the place back, and tells of an overload. The code alone says that.
func (s *clientStream) end(err error, trailer metadata.MD) {
	if !s.ended.CompareAndSwap(false, true) {
		return
	}
	if ofClient(context.Background(), err, trailer, 0) == uprung.Overload {
		s.token.Answered(uprung.Overload)
	}
	s.token.Leave()
}
