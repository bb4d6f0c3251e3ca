package grpclimit

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/ratelimit"
)

// One call is at work, the next is refused, and once the first has ended there is a place
// again: in a server and in a client.
func TestUnary(t *testing.T) {
	for _, side := range []string{"server", "client"} {
		t.Run(side, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := limitOf(t, 1)
				working, finish := make(chan bool), make(chan bool)
				s := &grpctest.Service{Unary: func(context.Context) error {
					working <- true
					<-finish
					return nil
				}}
				server, client := limited(c, nil), []grpc.DialOption(nil)
				if side == "client" {
					server, client = nil, limiting(c, nil)
				}
				conn := grpctest.Serve(t, s.Register, server, client...)
				first := make(chan error)
				go func() { first <- grpctest.Call(t.Context(), conn) }()
				<-working
				err := grpctest.Call(t.Context(), conn)
				after, asked := grpcx.RetryAfter(err, nil)
				if status.Code(err) != codes.Unavailable || !asked || after != time.Second {
					t.Errorf("error is %v, want UNAVAILABLE and to try again after a second", err)
				}
				_, rejected := errors.AsType[*uprung.Rejection](err)
				if want := side == "client"; rejected != want || errors.Is(err, ratelimit.ErrBusy) != want {
					t.Errorf("error is %v: a rejection: %t, want %t", err, rejected, want)
				}
				finish <- true
				if err := <-first; err != nil {
					t.Errorf("first call: %v", err)
				}
				synctest.Wait()
				if got := c.Stats(); got.Admitted != 1 || got.Refused != 1 || got.InFlight != 0 {
					t.Errorf("stats are %+v, want one admitted and one refused", got)
				}
			})
		})
	}
}

func TestStreams(t *testing.T) {
	for _, side := range []string{"server", "client"} {
		for _, lasting := range []bool{false, true} {
			name := side
			if lasting {
				name += ", lasting"
			}
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					c := limitOf(t, 1)
					o := &Options{Lasting: func(_ context.Context, method string) bool { return lasting && method == grpctest.Both }}
					s := &grpctest.Service{Stream: func(stream grpc.ServerStream) error {
						for {
							if err := stream.RecvMsg(new(grpctest.Request)); err != nil {
								if errors.Is(err, io.EOF) {
									return nil
								}
								return err
							}
						}
					}}
					server, client := limited(c, o), []grpc.DialOption(nil)
					if side == "client" {
						server, client = nil, limiting(c, o)
					}
					conn := grpctest.Serve(t, s.Register, server, client...)
					first, err := grpctest.Open(t.Context(), conn, grpctest.Both)
					if err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					second, err := grpctest.Open(t.Context(), conn, grpctest.Both)
					if err == nil {
						_ = second.CloseSend()
						err = second.RecvMsg(new(grpctest.Response))
					}
					want := codes.Unavailable
					if lasting {
						want, err = codes.OK, ended(err)
					}
					if got := status.Code(err); got != want {
						t.Errorf("the second stream ends with %v (%v), want %v", got, err, want)
					}
					_ = first.CloseSend()
					if err := ended(first.RecvMsg(new(grpctest.Response))); err != nil {
						t.Errorf("the first stream: %v", err)
					}
					synctest.Wait()
					if got := c.Stats(); got.InFlight != 0 || got.Streams != 0 {
						t.Errorf("stats are %+v, want nobody left", got)
					}
				})
			})
		}
	}
}

// ended returns an error unless err is the good end of a stream.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// However a stream of a client ends, it gives its place back once.
func TestClientStreamsGiveTheirPlaceBack(t *testing.T) {
	for name, tt := range map[string]struct {
		method string
		server func(grpc.ServerStream) error
		client func(s grpc.ClientStream, leave func())
	}{
		"the only message": {grpctest.Up, func(s grpc.ServerStream) error { return s.SendMsg(new(grpctest.Response)) }, func(s grpc.ClientStream, _ func()) {
			_ = s.RecvMsg(new(grpctest.Response))
		}},
		"an error": {grpctest.Both, func(grpc.ServerStream) error { return status.Error(codes.Internal, "") }, func(s grpc.ClientStream, _ func()) {
			_ = s.RecvMsg(new(grpctest.Response))
			_ = s.RecvMsg(new(grpctest.Response))
		}},
		"left": {grpctest.Both, func(s grpc.ServerStream) error { <-s.Context().Done(); return nil }, func(_ grpc.ClientStream, leave func()) {
			leave()
		}},
		"what cannot be sent": {grpctest.Both, func(s grpc.ServerStream) error { <-s.Context().Done(); return nil }, func(s grpc.ClientStream, _ func()) {
			_ = s.SendMsg("no message")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := limitOf(t, 1)
				conn := grpctest.Serve(t, (&grpctest.Service{Stream: tt.server}).Register, nil, limiting(c, nil)...)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				s, err := grpctest.Open(ctx, conn, tt.method)
				if err != nil {
					t.Fatal(err)
				}
				if got := c.Stats().InFlight; got != 1 {
					t.Errorf("%d in flight while the stream is open, want 1", got)
				}
				tt.client(s, leave)
				synctest.Wait()
				if got := c.Stats(); got.InFlight != 0 {
					t.Errorf("stats are %+v, want nobody left", got)
				}
			})
		})
	}
}

func TestCallsThatComeTooLate(t *testing.T) {
	t.Parallel()
	c := limitOf(t, 1)
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	left, leave := context.WithCancel(t.Context())
	leave()
	for want, ctx := range map[codes.Code]context.Context{codes.DeadlineExceeded: expired, codes.Canceled: left} {
		_, err := UnaryServerInterceptor(c, nil)(ctx, nil, &grpc.UnaryServerInfo{FullMethod: grpctest.Unary}, nil)
		if status.Code(err) != want {
			t.Errorf("error is %v, want %v and the handler not called", err, want)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	c := limitOf(t, 4)
	for range 2 {
		if _, err := c.Acquire(t.Context(), ratelimit.Claim{}); err != nil {
			t.Fatal(err)
		}
	}
	o := &Options{
		Claim: func(context.Context, string) ratelimit.Claim { return ratelimit.Claim{Priority: ratelimit.Background} },
		Skip:  func(_ context.Context, method string) bool { return method == "/grpc.health.v1.Health/Check" },
	}
	intercept := UnaryServerInterceptor(c, o)
	handler := func(context.Context, any) (any, error) { return "done", nil }
	if _, err := intercept(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: grpctest.Unary}, handler); status.Code(err) != codes.Unavailable {
		t.Errorf("error is %v, want a background call to give way at half of the limit", err)
	}
	if got, err := intercept(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/grpc.health.v1.Health/Check"}, handler); got != "done" || err != nil {
		t.Errorf("an exempt call returns %v, %v", got, err)
	}
}

// A handler that panics, and what another guard refuses within, leave nothing behind and
// teach the limit nothing.
func TestHandlersThatPanic(t *testing.T) {
	t.Parallel()
	c := limitOf(t, 1)
	intercept := UnaryServerInterceptor(c, nil)
	func() {
		defer func() {
			if recover() != "broken" {
				t.Error("the panic does not go on")
			}
		}()
		_, _ = intercept(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: grpctest.Unary}, func(context.Context, any) (any, error) { panic("broken") })
	}()
	if got := c.Stats(); got.InFlight != 0 || got.Admitted != 1 {
		t.Errorf("stats are %+v, want nobody left", got)
	}
}

// A server's RESOURCE_EXHAUSTED lowers the limit of a client, a handler's not that of its
// server.
func TestOverloadLowersTheLimitOfClients(t *testing.T) {
	for side, want := range map[string]bool{"server": false, "client": true} {
		t.Run(side, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := uprung.Must(ratelimit.NewConcurrency(ratelimit.Adaptive(), nil))
				exhausted := status.Error(codes.ResourceExhausted, "")
				for range 10 {
					time.Sleep(200 * time.Millisecond)
					if side == "client" {
						_ = UnaryClientInterceptor(c, nil)(t.Context(), grpctest.Unary, nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
							return exhausted
						})
					} else {
						_, _ = UnaryServerInterceptor(c, nil)(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: grpctest.Unary}, func(context.Context, any) (any, error) { return nil, exhausted })
					}
				}
				if got := c.Stats().Limit < 15; got != want {
					t.Errorf("limit is %d after ten overloads, want it lowered: %t", c.Stats().Limit, want)
				}
			})
		})
	}
}

func TestNilLimitsPanic(t *testing.T) {
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
