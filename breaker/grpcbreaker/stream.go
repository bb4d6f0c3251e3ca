package grpcbreaker

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/uprung/uprung"
)

// StreamClientInterceptor is [UnaryClientInterceptor] for streams.
func StreamClientInterceptor(of Select, o *Options) grpc.StreamClientInterceptor {
	g := newGuard(of, o)
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
		c, err := g.begin(ctx, method)
		if err != nil {
			return nil, err
		}
		returned := false
		defer func() {
			if !returned { // a panic, which goes on
				c.permit.Done(uprung.Failure)
			}
		}()
		stream, err := streamer(ctx, desc, cc, method, options...)
		returned = true
		if err != nil {
			c.end(err, nil)
			return nil, err
		}
		s := &clientStream{ClientStream: stream, call: c, single: !desc.ServerStreams}
		s.release = context.AfterFunc(ctx, func() { s.finish(ctx.Err(), nil) })
		return s, nil
	}
}

// clientStream tells the permit of its end.
type clientStream struct {
	grpc.ClientStream
	single  bool // there is one message to receive, and the stream ends with it
	release func() bool

	mu    sync.Mutex
	call  *call // nil once it is over; guarded by mu
	begun bool  // a message was received; guarded by mu
}

// RecvMsg receives a message. Any error is the end, and so is the only message.
func (s *clientStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	switch {
	case err != nil:
		s.over(err, s.Trailer())
	case s.single:
		s.over(nil, nil)
	default:
		s.answered()
	}
	return err
}

// SendMsg sends a message. An error is the end, but for io.EOF: then RecvMsg has the
// error of the stream.
func (s *clientStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err != nil && !errors.Is(err, io.EOF) {
		s.over(err, nil)
	}
	return err
}

// answered notes that the first message is here. A permit may call what a user has to
// say about changes of state, and so is not told under the lock.
func (s *clientStream) answered() {
	s.mu.Lock()
	first := s.call != nil && !s.begun
	if !first {
		s.mu.Unlock()
		return
	}
	s.begun = true
	permit := s.call.permit
	s.mu.Unlock()
	permit.Answered()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call != nil { // it has not ended meanwhile
		s.call.permit = permit
	}
}

// over ends the call for the reader.
func (s *clientStream) over(err error, trailer metadata.MD) {
	s.release()
	s.finish(err, trailer)
}

// finish ends the call, unless it has ended.
func (s *clientStream) finish(err error, trailer metadata.MD) {
	s.mu.Lock()
	c, begun := s.call, s.begun
	s.call = nil
	s.mu.Unlock()
	switch {
	case c == nil:
	case begun && c.ctx.Err() != nil:
		c.permit.Done(uprung.Ignored) // a stream that its reader left, after however long
	default:
		c.end(err, trailer)
	}
}

// StreamServerInterceptor is [UnaryServerInterceptor] for streams, each of which has
// ended when its handler has.
func StreamServerInterceptor(of Select, o *Options) grpc.StreamServerInterceptor {
	g := newGuard(of, o)
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		c, err := g.begin(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		s := &serverStream{ServerStream: stream, call: c}
		returned := false
		defer func() {
			if !returned { // a panic, which goes on
				s.first.Do(func() {})
				c.permit.Done(uprung.Failure)
			}
		}()
		err = handler(server, s)
		returned = true
		s.over(err)
		return err
	}
}

// serverStream tells the permit of the first message that is sent.
type serverStream struct {
	grpc.ServerStream
	call  *call
	first sync.Once
	begun atomic.Bool
}

// SendMsg sends a message.
func (s *serverStream) SendMsg(m any) error {
	s.first.Do(func() {
		s.begun.Store(true)
		s.call.permit.Answered()
	})
	return s.ServerStream.SendMsg(m)
}

// over ends the call with what the handler returned.
func (s *serverStream) over(err error) {
	s.first.Do(func() {}) // what it leaves behind may still send
	if s.begun.Load() && s.call.ctx.Err() != nil {
		s.call.permit.Done(uprung.Ignored) // a stream that its client left, after however long
		return
	}
	s.call.end(err, nil)
}
