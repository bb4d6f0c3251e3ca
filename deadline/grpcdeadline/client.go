package grpcdeadline

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/uprung/uprung/deadline"
)

// UnaryClientInterceptor returns an interceptor that bounds each call as a whole: put
// it outside of retries. It panics if d is nil.
func UnaryClientInterceptor(d *deadline.Deadline, o *Options) grpc.UnaryClientInterceptor {
	must(d)
	o = copied(o)
	return func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, options ...grpc.CallOption) error {
		ctx, end, err := o.call(ctx, method, d.BeginCall, byMethod)
		if err != nil {
			return err
		}
		defer end()
		return invoker(ctx, method, request, reply, cc, options...)
	}
}

// StreamClientInterceptor is [UnaryClientInterceptor] for streams, each from its opening
// to its end.
func StreamClientInterceptor(d *deadline.Deadline, o *Options) grpc.StreamClientInterceptor {
	must(d)
	o = copied(o)
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		ctx, end, err := o.call(ctx, method, d.BeginCall, byMethod)
		if err != nil {
			return nil, err
		}
		opened := false
		defer func() {
			if !opened { // an error, or a panic, which goes on
				end()
			}
		}()
		stream, err := streamer(ctx, desc, cc, method, options...)
		if err != nil {
			return nil, err
		}
		opened = true
		s := &clientStream{ClientStream: stream, single: !desc.ServerStreams, end: end}
		s.release = context.AfterFunc(ctx, end)
		return s, nil
	}
}

// clientStream ends its deadline with the stream.
type clientStream struct {
	grpc.ClientStream
	single  bool // there is one message to receive, and the stream ends with it
	end     func()
	release func() bool
}

// RecvMsg receives a message. Any error is the end, and so is the only message.
func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil || s.single {
		s.over()
	}
	return err
}

// SendMsg sends a message. An error is the end, but for io.EOF: then RecvMsg has the
// error of the stream.
func (s *clientStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err != nil && !errors.Is(err, io.EOF) {
		s.over()
	}
	return err
}

// over ends the deadline.
func (s *clientStream) over() {
	s.release()
	s.end()
}
