package grpcretry

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/retry"
)

// served are server options with the interceptors.
func served() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.UnaryInterceptor(UnaryServerInterceptor()), grpc.StreamInterceptor(StreamServerInterceptor())}
}

// retrying are dial options with the interceptors of a retrier of its own.
func retrying(t *testing.T) []grpc.DialOption {
	t.Helper()
	r := must1(t, nil)
	return []grpc.DialOption{grpc.WithUnaryInterceptor(UnaryClientInterceptor(r, all)), grpc.WithStreamInterceptor(StreamClientInterceptor(r))}
}

// Three services of three attempts, HTTP over gRPC over HTTP, send a backend that fails what
// one of them does, also at few requests: nobody repeats what is repeated further down.
func TestTrapNestedServicesWithInterceptorsDoNotMultiply(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		every    time.Duration
		requests int64
		most     float64
	}{
		{time.Second, 600, 1.32},
		{time.Minute, 1, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			var attempts atomic.Int64
			backend := must1(t, nil).Transport(call(func(*http.Request) (int, error) {
				attempts.Add(1)
				return http.StatusInternalServerError, nil
			}))
			lower := &grpctest.Service{Unary: func(ctx context.Context) error {
				if code, err := ask(ctx, backend); err != nil || code != http.StatusOK {
					return status.Error(codes.Unavailable, "the backend fails")
				}
				return nil
			}}
			conn := grpctest.Serve(t, lower.Register, served(), retrying(t)...)
			upper := retry.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if grpctest.Call(r.Context(), conn) != nil {
					w.WriteHeader(http.StatusBadGateway)
				}
			}))
			client := must1(t, nil).Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				upper.ServeHTTP(w, r)
				return w.Result(), nil
			}))
			for range tt.requests {
				go func() {
					if code, err := ask(t.Context(), client); err != nil || code != http.StatusBadGateway {
						t.Errorf("got %d, %v, want 502", code, err)
					}
				}()
				time.Sleep(tt.every)
			}
			time.Sleep(10 * time.Second)
			if got := float64(attempts.Load()) / float64(tt.requests); got <= 1 || got > tt.most {
				t.Errorf("a request every %v: %.3f attempts for each, want more than 1 and at most %v", tt.every, got, tt.most)
			}
		})
	}
}

// roundTripper is one that is a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A handler, unary or of a stream, that works for an attempt calls once, and marks that;
// one that works for a first attempt repeats what fails, and says that it has.
func TestServerInterceptors(t *testing.T) {
	t.Parallel()
	for _, streaming := range []bool{false, true} {
		for _, attempt := range []string{"", "3"} {
			synctest.Test(t, func(t *testing.T) {
				var seen []string
				lower := &grpctest.Service{Unary: func(ctx context.Context) error {
					seen = append(seen, append(metadata.ValueFromIncomingContext(ctx, attemptKey), "")[0])
					return status.Error(codes.Unavailable, "away")
				}}
				down := grpctest.Serve(t, lower.Register, nil, retrying(t)...)
				upper := &grpctest.Service{
					Unary:  func(ctx context.Context) error { return grpctest.Call(ctx, down) },
					Stream: func(s grpc.ServerStream) error { return grpctest.Call(s.Context(), down) },
				}
				conn := grpctest.Serve(t, upper.Register, served())
				ctx := t.Context()
				if attempt != "" {
					ctx = metadata.AppendToOutgoingContext(ctx, attemptKey, attempt)
				}
				var trailer metadata.MD
				var err error
				if streaming {
					var s grpc.ClientStream
					if s, err = grpctest.Open(ctx, conn, grpctest.Both); err == nil {
						err = grpctest.Drain(s)
						trailer = s.Trailer()
					}
				} else {
					err = grpctest.Call(ctx, conn, grpc.Trailer(&trailer))
				}
				calls, says := []string{"", "2", "3"}, []string{retry.LastAttempt}
				if attempt != "" {
					calls, says = []string{attempt}, nil
				}
				if status.Code(err) != codes.Unavailable || !slices.Equal(seen, calls) || !slices.Equal(trailer.Get(attemptKey), says) {
					t.Errorf("streaming %t, attempt %q: %v after calls %q, trailer %v; want calls %q and %q", streaming, attempt, err, seen, trailer, calls, says)
				}
			})
		}
	}
}

// What a handler cures, or does without, is not marked, and streams that it opens for an
// attempt are marked as calls are.
func TestServerInterceptorsMarkFailuresAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := grpctest.Serve(t, (&grpctest.Service{Unary: func(context.Context) error { return status.Error(codes.Unavailable, "") }}).Register, nil, retrying(t)...)
		upper := &grpctest.Service{Unary: func(ctx context.Context) error {
			_ = grpctest.Call(ctx, down) // it does without
			return nil
		}}
		var trailer metadata.MD
		conn := grpctest.Serve(t, upper.Register, served())
		if err := grpctest.Call(t.Context(), conn, grpc.Trailer(&trailer)); err != nil || len(trailer.Get(attemptKey)) > 0 {
			t.Errorf("a success ends with %v, trailer %v", err, trailer)
		}
		ctx, _ := retry.WithOrigin(t.Context(), []string{"2"})
		opened := 0
		_, err := StreamClientInterceptor(must1(t, nil))(ctx, nil, nil, "/a/B", func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
			opened++
			md, _ := metadata.FromOutgoingContext(ctx)
			if got := md.Get(attemptKey); !slices.Equal(got, []string{"2"}) {
				t.Errorf("a stream says %q, want 2", got)
			}
			return nil, status.Error(codes.Unavailable, "")
		})
		if err == nil || opened != 1 {
			t.Errorf("%v after %d streams, want one", err, opened)
		}
	})
}
