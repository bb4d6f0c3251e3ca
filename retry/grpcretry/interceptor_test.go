package grpcretry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/retry"
)

// server answers the calls of the health service, one after the other, with errors.
type server struct {
	grpc_health_v1.UnimplementedHealthServer
	mu       sync.Mutex
	errs     []error // of one call after the other, the last again and again
	hang     int     // the first so many calls hang
	push     string  // grpc-retry-pushback-ms of what fails
	seen     []string
	instants []time.Time
}

func (s *server) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	err := s.errs[min(len(s.seen), len(s.errs)-1)]
	hang := len(s.seen) < s.hang
	s.seen = append(s.seen, strings.Join(md.Get(attemptKey), ","))
	s.instants = append(s.instants, time.Now())
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if err != nil && s.push != "" {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", s.push))
	}
	return &grpc_health_v1.HealthCheckResponse{}, err
}

// attempts returns the numbers of the attempts that have come.
func (s *server) attempts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// between returns the time between the first two.
func (s *server) between() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instants[1].Sub(s.instants[0])
}

// dial starts a server in memory and returns a client of it that is intercepted.
func dial(t *testing.T, s grpc_health_v1.HealthServer, r *retry.Retrier, idempotent func(string) bool) grpc_health_v1.HealthClient {
	t.Helper()
	register := func(g grpc.ServiceRegistrar) { grpc_health_v1.RegisterHealthServer(g, s) }
	return grpc_health_v1.NewHealthClient(grpctest.Serve(t, register, nil,
		grpc.WithUnaryInterceptor(UnaryClientInterceptor(r, idempotent)), grpc.WithStreamInterceptor(StreamClientInterceptor(r))))
}

func must1(tb testing.TB, o *retry.Options) *retry.Retrier {
	tb.Helper()
	r, err := retry.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func all(string) bool { return true }

func TestUnary(t *testing.T) {
	t.Parallel()
	unavailable := status.Error(codes.Unavailable, "starting")
	for _, tt := range []struct {
		name       string
		errs       []error
		push       string
		idempotent func(string) bool
		code       codes.Code
		calls      int
		least      time.Duration
	}{
		{"success", []error{nil}, "", all, codes.OK, 1, 0},
		{"the second time", []error{unavailable, nil}, "", all, codes.OK, 2, 0},
		{"never", []error{unavailable}, "", all, codes.Unavailable, 3, 0},
		{"not idempotent", []error{unavailable, nil}, "", nil, codes.Unavailable, 1, 0},
		{"not this method", []error{unavailable, nil}, "", func(m string) bool { return m != "/grpc.health.v1.Health/Check" }, codes.Unavailable, 1, 0},
		{"the caller's mistake", []error{status.Error(codes.InvalidArgument, "no"), nil}, "", all, codes.InvalidArgument, 1, 0},
		{"overload", []error{status.Error(codes.ResourceExhausted, "full"), nil}, "", all, codes.OK, 2, 0},
		{"pushback", []error{unavailable, nil}, "3000", all, codes.OK, 2, 3 * time.Second},
		{"pushback for ever", []error{unavailable, nil}, "-1", all, codes.Unavailable, 1, 0},
		{"RetryInfo", []error{grpcx.Refuse(codes.ResourceExhausted, &uprung.Rejection{Reason: errors.New("full"), RetryAfter: 2 * time.Second}), nil}, "", all, codes.OK, 2, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &server{errs: tt.errs, push: tt.push}
			r := must1(t, nil)
			_, err := dial(t, s, r, tt.idempotent).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if status.Code(err) != tt.code || len(s.attempts()) != tt.calls {
				t.Errorf("%s: got %v after %d calls, want %v after %d", tt.name, err, len(s.attempts()), tt.code, tt.calls)
			}
			if want := []string{"", "2", "3"}[:len(s.attempts())]; !slices.Equal(s.attempts(), want) {
				t.Errorf("%s: attempts are %q, want %q", tt.name, s.attempts(), want)
			}
			if tt.least > 0 && s.between() < tt.least {
				t.Errorf("%s: waited %v, want %v at least", tt.name, s.between(), tt.least)
			}
		})
	}
}

func TestUnaryAttemptTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{errs: []error{nil}, hang: 1}
		_, err := dial(t, s, must1(t, &retry.Options{AttemptTimeout: time.Second}), all).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err != nil || len(s.attempts()) != 2 {
			t.Errorf("got %v after %d calls, want an answer after 2", err, len(s.attempts()))
		}
		// The caller's own deadline ends it.
		s = &server{errs: []error{nil}, hang: 9}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = dial(t, s, must1(t, nil), all).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if status.Code(err) != codes.DeadlineExceeded || len(s.attempts()) != 1 {
			t.Errorf("got %v after %d calls, want the deadline after 1", err, len(s.attempts()))
		}
	})
}

func TestOffAndNested(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &server{errs: []error{status.Error(codes.Unavailable, "starting")}}
		r := must1(t, nil)
		c := dial(t, s, r, all)
		ctx := metadata.AppendToOutgoingContext(t.Context(), attemptKey, "2")
		if _, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err == nil || len(s.attempts()) != 1 {
			t.Errorf("a nested call was sent %d times, want once", len(s.attempts()))
		}
		if err := r.SetMode(uprung.Off); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err == nil || len(s.attempts()) != 2 {
			t.Errorf("a call was sent %d times while off, want once", len(s.attempts())-1)
		}
	})
}

// A local refusal, and the attempts that a balancer sees.
func TestBelow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			err   error
			calls int
		}{
			{&uprung.Rejection{Reason: errors.New("open")}, 1},
			{grpcx.Refuse(codes.Unavailable, &uprung.Rejection{Reason: errors.New("open")}), 1},
			{status.Error(codes.Unavailable, "away"), 3},
		} {
			var attempts []*uprung.Attempt
			call := UnaryClientInterceptor(must1(t, nil), all)
			err := call(t.Context(), "/s/m", nil, nil, nil, func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
				attempts = append(attempts, uprung.AttemptOf(ctx))
				return tt.err
			})
			if !errors.Is(err, tt.err) || len(attempts) != tt.calls || attempts[0] == nil || slices.ContainsFunc(attempts, func(a *uprung.Attempt) bool { return a != attempts[0] }) {
				t.Errorf("got %v after attempts %v, want %d with one memory", err, attempts, tt.calls)
			}
			opened := 0
			open := StreamClientInterceptor(must1(t, nil))
			_, err = open(t.Context(), nil, nil, "/s/m", func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, ...grpc.CallOption) (grpc.ClientStream, error) {
				opened++
				return nil, tt.err
			})
			if !errors.Is(err, tt.err) || opened != tt.calls {
				t.Errorf("got %v after %d streams, want %d", err, opened, tt.calls)
			}
		}
	})
}

func TestNilRetrier(t *testing.T) {
	t.Parallel()
	for _, f := range []func(){func() { UnaryClientInterceptor(nil, nil) }, func() { StreamClientInterceptor(nil) }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		}()
	}
}
