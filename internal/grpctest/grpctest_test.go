package grpctest

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Every kind of method can be called, in the time of a bubble, and nothing is left.
func TestService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Service{
			Unary: func(context.Context) error {
				time.Sleep(time.Hour)
				return status.Error(codes.Aborted, "")
			},
			Stream: func(s grpc.ServerStream) error {
				err := s.RecvMsg(new(Request))
				if err == io.EOF { //nolint:errorlint // as grpc documents it
					return s.SendMsg(new(Response))
				}
				return err
			},
		}
		conn := Serve(t, s.Register, nil)
		begin := time.Now()
		if err := Call(t.Context(), conn); status.Code(err) != codes.Aborted || time.Since(begin) != time.Hour {
			t.Errorf("after %v: %v, want ABORTED after an hour", time.Since(begin), err)
		}
		for _, method := range []string{Up, Both} {
			stream, err := Open(t.Context(), conn, method)
			if err == nil {
				err = Drain(stream)
			}
			if err != nil {
				t.Errorf("%s: %v", method, err)
			}
		}
		stream, err := Open(t.Context(), conn, Down)
		if err == nil {
			if err = stream.SendMsg(new(Request)); err == nil {
				err = Drain(stream)
			}
		}
		if err != nil {
			t.Errorf("%s: %v", Down, err)
		}
	})
}
