package grpcchaos

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/chaos"
	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/internal/grpcx"
)

// armed returns an injector that is.
func armed(t *testing.T, faults ...chaos.Fault) *chaos.Injector {
	t.Helper()
	i, err := chaos.New(faults, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Arm(time.Hour); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Disarm)
	return i
}

// dial starts a server and returns a client, with the interceptors of either.
func dial(t *testing.T, server, client *chaos.Injector) grpc_health_v1.HealthClient {
	t.Helper()
	register := func(r grpc.ServiceRegistrar) { grpc_health_v1.RegisterHealthServer(r, health.NewServer()) }
	return grpc_health_v1.NewHealthClient(grpctest.Serve(t, register,
		[]grpc.ServerOption{grpc.UnaryInterceptor(UnaryServerInterceptor(server)), grpc.StreamInterceptor(StreamServerInterceptor(server))},
		grpc.WithUnaryInterceptor(UnaryClientInterceptor(client)), grpc.WithStreamInterceptor(StreamClientInterceptor(client))))
}

// ways are a unary call and a stream.
var ways = map[string]func(context.Context, grpc_health_v1.HealthClient) (metadata.MD, error){
	"unary": func(ctx context.Context, c grpc_health_v1.HealthClient) (trailer metadata.MD, err error) {
		_, err = c.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Trailer(&trailer))
		return trailer, err
	},
	"stream": func(ctx context.Context, c grpc_health_v1.HealthClient) (metadata.MD, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s, err := c.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			return nil, err
		}
		_, err = s.Recv()
		if err != nil {
			return s.Trailer(), err
		}
		return nil, nil
	},
}

func TestFaultsAreWhatTheySay(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault chaos.Fault
		code  codes.Code
		after time.Duration // to try again
		took  time.Duration
	}{
		{"code", chaos.Fault{Code: uint32(codes.ResourceExhausted), RetryAfter: 2 * time.Second}, codes.ResourceExhausted, 2 * time.Second, 0},
		{"status", chaos.Fault{Status: 404}, codes.NotFound, 0, 0},
		{"code before status", chaos.Fault{Status: 404, Code: uint32(codes.DataLoss)}, codes.DataLoss, 0, 0},
		{"reset", chaos.Fault{Reset: true}, codes.Unavailable, 0, 0},
		{"error", chaos.Fault{Err: io.ErrNoProgress}, codes.Unknown, 0, 0},
		{"error with a status", chaos.Fault{Err: status.Error(codes.Aborted, "try")}, codes.Aborted, 0, 0},
		{"delay", chaos.Fault{Delay: chaos.Fixed(time.Minute)}, codes.OK, 0, time.Minute},
		{"both", chaos.Fault{Delay: chaos.Fixed(time.Minute), Status: 503}, codes.Unavailable, 0, time.Minute},
	} {
		for way, call := range ways {
			for _, side := range []string{"client", "server"} {
				t.Run(tt.name+"/"+way+"/"+side, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						fault := tt.fault
						fault.Name = "f"
						server, client := armed(t), armed(t)
						i := armed(t, fault)
						if side == "client" {
							client = i
						} else {
							server = i
						}
						c := dial(t, server, client)
						begin := time.Now()
						trailer, err := call(t.Context(), c)
						if got := status.Code(err); got != tt.code || time.Since(begin) != tt.took {
							t.Errorf("after %v: %v, want %v after %v", time.Since(begin), err, tt.code, tt.took)
						}
						if err != nil && side == "client" != errors.Is(err, chaos.ErrInjected) {
							t.Errorf("%v matches what was injected: %t", err, errors.Is(err, chaos.ErrInjected))
						}
						if got := trailer.Get("chaos-fault"); err != nil && side == "server" && (len(got) != 1 || got[0] != "f") {
							t.Errorf("the trailer is %v", trailer)
						}
						if after, _ := grpcx.RetryAfter(err, nil); after != tt.after {
							t.Errorf("to try again after %v, want %v", after, tt.after)
						}
						if s := i.Stats(); s.Active != 0 || s.Faults[0].Injected != 1 {
							t.Errorf("stats are %+v", s)
						}
					})
				})
			}
		}
	}
}

func TestCallThatIsLeftIsNotHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := armed(t, chaos.Fault{Name: "hang", Delay: chaos.Fixed(time.Hour / 2)})
		c := dial(t, armed(t), i)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := ways["unary"](ctx, c); status.Code(err) != codes.DeadlineExceeded || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		time.AfterFunc(time.Minute, i.Disarm)
		begin = time.Now()
		if _, err := ways["unary"](t.Context(), c); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("by the kill switch, after %v: %v", time.Since(begin), err)
		}
	})
}

func TestCallIsMatchedByMethod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := armed(t, chaos.Fault{Name: "f", Reset: true, Match: func(c chaos.Call) bool {
			return c.Method == grpc_health_v1.Health_Watch_FullMethodName && c.Request == nil && c.Context != nil
		}})
		c := dial(t, i, armed(t))
		if _, err := ways["unary"](t.Context(), c); err != nil {
			t.Error(err)
		}
		if _, err := ways["stream"](t.Context(), c); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
	})
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for httpStatus, want := range map[int]codes.Code{
		400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied, 404: codes.NotFound, 409: codes.Aborted,
		418: codes.Unknown, 429: codes.ResourceExhausted, 500: codes.Internal, 501: codes.Unimplemented, 502: codes.Unavailable,
		503: codes.Unavailable, 504: codes.DeadlineExceeded,
	} {
		if got := codeOf(httpStatus); got != want {
			t.Errorf("%d: %v, want %v", httpStatus, got, want)
		}
	}
}

func TestNilPanics(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"unary client": func() { UnaryClientInterceptor(nil) }, "stream client": func() { StreamClientInterceptor(nil) },
		"unary server": func() { UnaryServerInterceptor(nil) }, "stream server": func() { StreamServerInterceptor(nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
