package grpcdeadline

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/internal/grpctest"
)

func TestUnaryClient(t *testing.T) {
	const limit = time.Second
	for _, tt := range []struct {
		name    string
		o       deadline.Options
		skip    bool
		brings  time.Duration // zero means no deadline
		within  time.Duration // what the server has; zero means no deadline, negative that it is not called
		takes   time.Duration
		want    codes.Code
		counted deadline.Stats
	}{
		{"the limit, less the margin", deadline.Options{}, false, 0, limit - 10*time.Millisecond, 0, codes.OK, deadline.Stats{Done: 1}},
		{"no margin", deadline.Options{Margin: -1}, false, 0, limit, 0, codes.OK, deadline.Stats{Done: 1}},
		{"an earlier deadline", deadline.Options{}, false, 300 * time.Millisecond, 290 * time.Millisecond, 0, codes.OK, deadline.Stats{Done: 1}},
		{"too late", deadline.Options{}, false, 0, limit - 10*time.Millisecond, 2 * limit, codes.DeadlineExceeded, deadline.Stats{Exceeded: 1}},
		{"expired", deadline.Options{}, false, -1, -1, 0, codes.DeadlineExceeded, deadline.Stats{Refused: 1}},
		{"all margin", deadline.Options{Margin: 50 * time.Millisecond}, false, 50 * time.Millisecond, -1, 0, codes.DeadlineExceeded, deadline.Stats{Refused: 1}},
		{"shadow", deadline.Options{Mode: uprung.Shadow}, false, 0, 0, 2 * limit, codes.OK, deadline.Stats{ShadowExceeded: 1}},
		{"exempt", deadline.Options{}, true, 0, 0, 2 * limit, codes.OK, deadline.Stats{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := mustNew(t, limit, &tt.o)
				var called atomic.Bool
				conn := serve(t, &grpctest.Service{Unary: func(ctx context.Context) error {
					called.Store(true)
					left, ok := deadline.Remaining(ctx)
					if left != tt.within || ok != (tt.within != 0) {
						t.Errorf("the server has %v, %t, want %v", left, ok, tt.within)
					}
					return sleep(ctx, tt.takes)
				}}, nil, guarding(d, &Options{Skip: func(context.Context, string) bool { return tt.skip }})...)
				ctx := t.Context()
				if tt.brings != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.brings)
					defer cancel()
				}
				start := time.Now()
				err := grpctest.Call(ctx, conn)
				if got := status.Code(err); got != tt.want {
					t.Errorf("code is %v (%v), want %v", got, err, tt.want)
				}
				if refused := tt.within < 0; called.Load() == refused || refused && time.Since(start) > 0 {
					t.Errorf("the server was called: %t, after %v, want it called: %t", called.Load(), time.Since(start), !refused)
				}
				rejection, _ := errors.AsType[*uprung.Rejection](err)
				if refused := tt.within < 0; refused != (rejection != nil) || refused != errors.Is(err, deadline.ErrExpired) {
					t.Errorf("error is %v, want a rejection: %t", err, refused)
				}
				synctest.Wait()
				if got := d.Stats(); got != tt.counted {
					t.Errorf("counted %+v, want %+v", got, tt.counted)
				}
			})
		})
	}
}

// TestStreamClient has a row for each way in which a stream ends.
func TestStreamClient(t *testing.T) {
	const limit = time.Second
	receive := func(s grpc.ClientStream) error { return s.RecvMsg(new(grpctest.Response)) }
	answer := func(s grpc.ServerStream) error { return s.SendMsg(new(grpctest.Response)) }
	for _, tt := range []struct {
		name    string
		method  string
		server  func(grpc.ServerStream) error
		client  func(s grpc.ClientStream, leave func()) error
		want    codes.Code
		counted deadline.Stats
	}{
		{"read to the end", grpctest.Down, func(s grpc.ServerStream) error { return errors.Join(answer(s), answer(s)) }, func(s grpc.ClientStream, _ func()) error {
			return errors.Join(receive(s), receive(s), ended(receive(s)))
		}, codes.OK, deadline.Stats{Done: 1}},
		{"the one message", grpctest.Up, func(s grpc.ServerStream) error {
			for s.RecvMsg(new(grpctest.Request)) == nil {
			}
			return answer(s)
		}, func(s grpc.ClientStream, _ func()) error {
			return errors.Join(s.SendMsg(new(grpctest.Request)), s.SendMsg(new(grpctest.Request)), s.CloseSend(), receive(s))
		}, codes.OK, deadline.Stats{Done: 1}},
		{"an error", grpctest.Both, func(grpc.ServerStream) error { return status.Error(codes.NotFound, "") }, func(s grpc.ClientStream, _ func()) error {
			return receive(s)
		}, codes.NotFound, deadline.Stats{Done: 1}},
		{"what cannot be sent", grpctest.Both, func(s grpc.ServerStream) error { <-s.Context().Done(); return nil }, func(s grpc.ClientStream, _ func()) error {
			return s.SendMsg("no message")
		}, codes.Internal, deadline.Stats{Done: 1}},
		{"the deadline", grpctest.Down, func(s grpc.ServerStream) error { return errors.Join(answer(s), sleep(s.Context(), time.Minute)) }, func(s grpc.ClientStream, _ func()) error {
			return errors.Join(receive(s), receive(s))
		}, codes.DeadlineExceeded, deadline.Stats{Exceeded: 1}},
		{"forgotten", grpctest.Down, func(s grpc.ServerStream) error { return sleep(s.Context(), time.Minute) }, func(grpc.ClientStream, func()) error {
			time.Sleep(limit)
			return nil
		}, codes.OK, deadline.Stats{Exceeded: 1}},
		{"left", grpctest.Down, func(s grpc.ServerStream) error { return sleep(s.Context(), time.Minute) }, func(s grpc.ClientStream, leave func()) error {
			leave()
			return receive(s)
		}, codes.Canceled, deadline.Stats{Done: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := mustNew(t, limit, nil)
				conn := serve(t, &grpctest.Service{Stream: tt.server}, nil, guarding(d, nil)...)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				s, err := grpctest.Open(ctx, conn, tt.method)
				if err != nil {
					t.Fatal(err)
				}
				err = tt.client(s, leave)
				if got := codeOf(err); got != tt.want {
					t.Errorf("code is %v (%v), want %v", got, err, tt.want)
				}
				synctest.Wait()
				if s.Context().Err() == nil {
					t.Error("the context lives on after the stream")
				}
				if got := d.Stats(); got != tt.counted {
					t.Errorf("counted %+v, want %+v", got, tt.counted)
				}
			})
		})
	}
}

// ended returns an error unless err is the good end of a stream.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return errors.Join(errors.New("the stream goes on"), err)
}

// codeOf returns the code of the first status in err.
func codeOf(err error) codes.Code {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			if err != nil {
				return status.Code(err)
			}
		}
	}
	return status.Code(err)
}

// A stream that is not opened leaves nothing behind, and its error is passed on.
func TestStreamClientThatIsNotOpened(t *testing.T) {
	t.Parallel()
	d := mustNew(t, time.Minute, nil)
	intercept := StreamClientInterceptor(d, nil)
	var ctx context.Context
	want := errors.New("no stream")
	_, err := intercept(t.Context(), grpctest.Desc(grpctest.Both), nil, grpctest.Both, func(c context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
		ctx = c
		return nil, want
	})
	if !errors.Is(err, want) || ctx.Err() == nil || d.Stats().Done != 1 {
		t.Errorf("error is %v, and the context lives on: %t; counted %+v", err, ctx.Err() == nil, d.Stats())
	}
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := intercept(expired, grpctest.Desc(grpctest.Both), nil, grpctest.Both, nil); status.Code(err) != codes.DeadlineExceeded || !errors.Is(err, deadline.ErrExpired) {
		t.Errorf("error is %v, want a refusal with DEADLINE_EXCEEDED", err)
	}
}

func TestNilDeadlinesPanic(t *testing.T) {
	t.Parallel()
	for name, construct := range map[string]func(){
		"UnaryServerInterceptor":  func() { UnaryServerInterceptor(nil, nil) },
		"StreamServerInterceptor": func() { StreamServerInterceptor(nil, nil) },
		"UnaryClientInterceptor":  func() { UnaryClientInterceptor(nil, nil) },
		"StreamClientInterceptor": func() { StreamClientInterceptor(nil, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s takes nil", name)
				}
			}()
			construct()
		}()
	}
}
