package grpcbalance

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
)

// Streams that are open for an hour, quiet ones among them, harm no endpoint: unary
// calls spread as if they were not there.
func TestLongStreamsHarmNobody(t *testing.T) {
	b := registered(t, &Options{Seed: 1})
	bubble(t, func(t *testing.T) {
		takes := func() *service { return taking(5 * time.Millisecond) }
		quiet := takes()
		quiet.watch = func(stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
			<-stream.Context().Done() // not even headers
			return nil
		}
		f := newFleet(t, takes(), quiet, takes(), takes())
		c := f.client(b)
		load(t, c, 100, 4)
		for _, id := range []string{"a", "b"} { // 25 streams at each, and none at the others
			for range 25 {
				attempt := new(uprung.Attempt)
				for _, other := range []string{"a", "b", "c", "d"} {
					if other != id {
						attempt.Try(other)
					}
				}
				watch(uprung.WithAttempt(t.Context(), attempt), t, c, id == "a")
			}
		}
		synctest.Wait()
		if s := b.Stats(); s.of(t, "a").InFlight != 25 || s.of(t, "b").InFlight != 25 || s.InFlight != 50 {
			t.Fatalf("figures are %+v, want 25 streams in flight at a and b", s)
		}
		time.Sleep(time.Hour)
		before := b.Stats()
		load(t, c, 600, 4)
		for _, e := range b.Stats().Endpoints {
			if got := e.Picked - before.of(t, e.ID).Picked; got < 75 || got > 300 {
				t.Errorf("%d of 600 calls went to %s, want about 150", got, e.ID)
			}
		}
	})
}

// Streams spread too, where nothing is known but streams.
func TestStreamsSpread(t *testing.T) {
	b := registered(t, &Options{Seed: 1})
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0), taking(0), taking(0), taking(0))
		c := f.client(b)
		for range 200 {
			watch(t.Context(), t, c, true)
		}
		for _, e := range b.Stats().Endpoints {
			if e.Picked < 25 || e.Picked > 100 {
				t.Errorf("%d of 200 streams went to %s, want about 50", e.Picked, e.ID)
			}
		}
	})
}

// How a stream ends counts.
func TestStreamsEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  error // of the server
		want uprung.Outcome
	}{
		{"well", nil, uprung.Success},
		{"not found", status.Error(codes.NotFound, ""), uprung.Success},
		{"failure", status.Error(codes.Internal, ""), uprung.Failure},
		{"overload", status.Error(codes.ResourceExhausted, ""), uprung.Overload},
		{"cancelled", context.Canceled, uprung.Ignored},
		{"deadline", context.DeadlineExceeded, uprung.Ignored},
	} {
		b := registered(t, nil)
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := &service{}
				if !errors.Is(tt.end, context.Canceled) && !errors.Is(tt.end, context.DeadlineExceeded) {
					s.watch = func(stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
						_ = stream.Send(&grpc_health_v1.HealthCheckResponse{})
						return tt.end
					}
				}
				c := newFleet(t, s).client(b)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				stream := watch(ctx, t, c, true)
				if errors.Is(tt.end, context.Canceled) {
					cancel()
				}
				for {
					if _, err := stream.Recv(); err != nil {
						if tt.end == nil != errors.Is(err, io.EOF) {
							t.Errorf("the stream ends with %v", err)
						}
						break
					}
				}
				synctest.Wait()
				if got := b.ended[tt.want].Load(); got != 1 || b.inFlight.Load() != 0 {
					t.Errorf("figures are %+v, want one %v and nothing in flight", b.Stats(), tt.want)
				}
			})
		})
	}
}

// A unary call that is made with the context of a stream is none.
func TestTheMarkOfAStreamIsItsOwn(t *testing.T) {
	t.Parallel()
	var marked context.Context
	_, err := StreamClientInterceptor()(t.Context(), &grpc.StreamDesc{}, nil, "/a.B/Watch",
		func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
			marked = ctx
			return nil, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		info balancer.PickInfo
		want bool
	}{
		{balancer.PickInfo{Ctx: marked, FullMethodName: "/a.B/Watch"}, true},
		{balancer.PickInfo{Ctx: marked, FullMethodName: "/a.B/Check"}, false},
		{balancer.PickInfo{Ctx: t.Context(), FullMethodName: "/a.B/Watch"}, false},
	} {
		if got := isStream(tt.info); got != tt.want {
			t.Errorf("%s, marked %v: %v, want %v", tt.info.FullMethodName, tt.info.Ctx == marked, got, tt.want)
		}
	}
}
