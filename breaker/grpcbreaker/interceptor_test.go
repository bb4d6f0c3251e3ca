package grpcbreaker

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/internal/grpcx"
)

var request = &grpc_health_v1.HealthCheckRequest{}

// Each kind of end, as a unary call and as a stream, seen from both sides.
func TestOutcomes(t *testing.T) {
	pushback := func(ctx context.Context) error {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "1000"))
		return status.Error(codes.Unavailable, "later")
	}
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, tt := range map[string]struct {
		serve          func(context.Context) error
		timeout        time.Duration
		client, server breaker.Counts
	}{
		"OK":                 {func(context.Context) error { return nil }, time.Minute, breaker.Counts{Successes: 1}, breaker.Counts{Successes: 1}},
		"NOT_FOUND":          {func(context.Context) error { return status.Error(codes.NotFound, "") }, time.Minute, breaker.Counts{Successes: 1}, breaker.Counts{Successes: 1}},
		"INTERNAL":           {func(context.Context) error { return status.Error(codes.Internal, "") }, time.Minute, breaker.Counts{Failures: 1}, breaker.Counts{Failures: 1}},
		"no code":            {func(context.Context) error { return errors.New("disk full") }, time.Minute, breaker.Counts{Failures: 1}, breaker.Counts{Failures: 1}},
		"UNAVAILABLE":        {func(context.Context) error { return status.Error(codes.Unavailable, "") }, time.Minute, breaker.Counts{Failures: 1}, breaker.Counts{Failures: 1}},
		"with pushback":      {pushback, time.Minute, breaker.Counts{Overloads: 1}, breaker.Counts{Failures: 1}}, // a handler does not see its trailer
		"RESOURCE_EXHAUSTED": {func(context.Context) error { return status.Error(codes.ResourceExhausted, "") }, time.Minute, breaker.Counts{Overloads: 1}, breaker.Counts{Overloads: 1}},
		"a hang":             {hang, 2 * time.Second, breaker.Counts{Failures: 1}, breaker.Counts{Failures: 1}},
		"haste":              {hang, 10 * time.Millisecond, breaker.Counts{Ignored: 1}, breaker.Counts{Ignored: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				for _, stream := range []bool{false, true} {
					ours, theirs := mustNew(t, nil), mustNew(t, nil)
					client := serve(t, &service{
						unary:  tt.serve,
						stream: func(s grpc_health_v1.Health_WatchServer) error { return tt.serve(s.Context()) },
					}, guarded(theirs), guarding(ours)...)
					ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
					if !stream {
						_, _ = client.Check(ctx, request)
					} else {
						s, err := client.Watch(ctx, request)
						if err != nil {
							t.Fatal(err)
						}
						if ours.Stats().Counts != (breaker.Counts{}) {
							t.Error("the stream counts before its end")
						}
						_, _ = s.Recv()
					}
					cancel()
					synctest.Wait()
					if got := ours.Stats().Counts; got != tt.client {
						t.Errorf("stream %v: the client counts %+v, want %+v", stream, got, tt.client)
					}
					got := theirs.Stats().Counts
					if name == "a hang" && got.Ignored == 1 {
						got = tt.server // the client, whose deadline is the same, was faster to leave
					}
					if got != tt.server {
						t.Errorf("stream %v: the server counts %+v, want %+v", stream, got, tt.server)
					}
				}
			})
		})
	}
}

// A refusal passes as a status, through a server too, and says when to come again.
func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ours, theirs := mustNew(t, nil), mustNew(t, nil)
		client := serve(t, &service{
			unary:  func(context.Context) error { return nil },
			stream: func(grpc_health_v1.Health_WatchServer) error { return nil },
		}, guarded(theirs), guarding(ours)...)
		refused := func() []error {
			_, unary := client.Check(t.Context(), request)
			s, stream := client.Watch(t.Context(), request)
			if stream == nil {
				_, stream = s.Recv()
			}
			return []error{unary, stream}
		}
		theirs.Force(breaker.ForceOpen)
		for _, err := range refused() {
			after, _ := grpcx.RetryAfter(err, nil)
			if status.Code(err) != codes.Unavailable || after != time.Second {
				t.Errorf("error is %v, after %v, want UNAVAILABLE and a second", err, after)
			}
		}
		synctest.Wait()
		if got, want := ours.Stats().Counts, (breaker.Counts{Overloads: 2}); got != want {
			t.Errorf("the client counts %+v, want %+v", got, want)
		}
		ours.Force(breaker.ForceOpen)
		for _, err := range refused() {
			if _, ok := errors.AsType[*uprung.Rejection](err); !ok || !errors.Is(err, breaker.ErrOpen) || status.Code(err) != codes.Unavailable {
				t.Errorf("error is %v, want a rejection", err)
			}
		}
		if got := theirs.Stats().Rejected; got != 2 {
			t.Errorf("the server has refused %d, want 2", got)
		}
	})
}

// TestStreams has the ways in which a stream ends well, and one that is left.
func TestStreams(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ours, theirs := mustNew(t, &breaker.Options{SlowCall: time.Second}), mustNew(t, &breaker.Options{SlowCall: time.Second})
		client := serve(t, &service{stream: func(s grpc_health_v1.Health_WatchServer) error {
			for range 3 {
				if err := s.Send(&grpc_health_v1.HealthCheckResponse{}); err != nil {
					return err
				}
				select {
				case <-time.After(time.Hour):
				case <-s.Context().Done():
					return s.Context().Err()
				}
			}
			return nil
		}}, guarded(theirs), guarding(ours)...)
		s, err := client.Watch(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = s.Recv()
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		synctest.Wait()
		for side, b := range map[string]*breaker.Breaker{"client": ours, "server": theirs} {
			if got, want := b.Stats().Counts, (breaker.Counts{Successes: 1}); got != want {
				t.Errorf("the %s counts %+v, want %+v", side, got, want)
			}
		}
		// Left after a while, without a word, and by a deadline after an hour.
		for _, leave := range []time.Duration{time.Minute, 90 * time.Minute} {
			ctx, cancel := context.WithTimeout(t.Context(), leave)
			defer cancel()
			s, err := client.Watch(ctx, request)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = s.Recv()
			time.Sleep(2 * time.Hour)
		}
		synctest.Wait()
		for side, b := range map[string]*breaker.Breaker{"client": ours, "server": theirs} {
			if got, want := b.Stats().Counts, (breaker.Counts{Successes: 1, Ignored: 2}); got != want {
				t.Errorf("the %s counts %+v, want %+v", side, got, want)
			}
		}
	})
}

// A stream that stays open keeps nothing half-open.
func TestStreamAsAProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := mustNew(t, &breaker.Options{Probes: 1, Consecutive: 1})
		broken := true
		client := serve(t, &service{stream: func(s grpc_health_v1.Health_WatchServer) error {
			if broken {
				return status.Error(codes.Internal, "")
			}
			_ = s.Send(&grpc_health_v1.HealthCheckResponse{})
			<-s.Context().Done()
			return nil
		}}, nil, guarding(b)...)
		watch := func(ctx context.Context) {
			s, err := client.Watch(ctx, request)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = s.Recv()
		}
		watch(t.Context())
		if got := b.State(); got != breaker.Open {
			t.Fatalf("state is %v, want open", got)
		}
		broken = false
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watch(ctx)
		if got := b.State(); got != breaker.HalfOpen {
			t.Fatalf("state is %v, want half-open", got)
		}
		time.Sleep(time.Second)
		if got := b.State(); got != breaker.Closed {
			t.Fatalf("state is %v, want closed", got)
		}
	})
}

// Panics of handlers and below a client count, and go on.
func TestPanics(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(*breaker.Breaker){
		"unary server": func(b *breaker.Breaker) {
			_, _ = UnaryServerInterceptor(One(b), nil)(t.Context(), nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { panic("oops") })
		},
		"stream server": func(b *breaker.Breaker) {
			_ = StreamServerInterceptor(One(b), nil)(nil, serverSide{ctx: t.Context()}, &grpc.StreamServerInfo{}, func(any, grpc.ServerStream) error { panic("oops") })
		},
		"unary client": func(b *breaker.Breaker) {
			_ = UnaryClientInterceptor(One(b), nil)(t.Context(), check, nil, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error { panic("oops") })
		},
		"stream client": func(b *breaker.Breaker) {
			_, _ = StreamClientInterceptor(One(b), nil)(t.Context(), &grpc.StreamDesc{}, nil, check, func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
				panic("oops")
			})
		},
	} {
		b := mustNew(t, nil)
		func() {
			defer func() {
				if v := recover(); v != "oops" {
					t.Errorf("%s: recovered %v, want oops", name, v)
				}
			}()
			call(b)
		}()
		if got := b.Stats().Failures; got != 1 {
			t.Errorf("%s: %d failures, want 1", name, got)
		}
	}
}

type serverSide struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // what Context returns
}

func (s serverSide) Context() context.Context { return s.ctx }

// A stream that cannot be opened is a failure, and methods have nothing to do with each
// other.
func TestByMethodAndStreamsThatAreNotOpened(t *testing.T) {
	t.Parallel()
	g, err := breaker.NewGroup[string](nil)
	if err != nil {
		t.Fatal(err)
	}
	intercept := StreamClientInterceptor(ByMethod(g), nil)
	open := func(method string) error {
		_, err := intercept(t.Context(), &grpc.StreamDesc{}, nil, method, func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
			return nil, status.Error(codes.Unavailable, "")
		})
		return err
	}
	for range 20 {
		if err := open("/a/A"); errors.Is(err, breaker.ErrOpen) {
			t.Fatal(err)
		}
	}
	if err := open("/a/A"); !errors.Is(err, breaker.ErrOpen) {
		t.Errorf("error is %v, want ErrOpen", err)
	}
	if err := open("/a/B"); errors.Is(err, breaker.ErrOpen) {
		t.Errorf("error is %v, of another method", err)
	}
	// None for a call.
	none := UnaryServerInterceptor(func(context.Context, string) *breaker.Breaker { return nil }, nil)
	if reply, err := none(t.Context(), nil, &grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) { return 7, nil }); reply != 7 || err != nil {
		t.Errorf("got %v, %v, want the reply", reply, err)
	}
}

func TestNilsPanic(t *testing.T) {
	t.Parallel()
	for name, construct := range map[string]func(){
		"One":                     func() { One(nil) },
		"ByMethod":                func() { ByMethod(nil) },
		"UnaryClientInterceptor":  func() { UnaryClientInterceptor(nil, nil) },
		"StreamClientInterceptor": func() { StreamClientInterceptor(nil, nil) },
		"UnaryServerInterceptor":  func() { UnaryServerInterceptor(nil, nil) },
		"StreamServerInterceptor": func() { StreamServerInterceptor(nil, nil) },
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
