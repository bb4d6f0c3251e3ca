package grpcdeadline

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/internal/grpctest"
)

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// mustNew returns a deadline that is known to be valid.
func mustNew(tb testing.TB, limit time.Duration, o *deadline.Options) *deadline.Deadline {
	tb.Helper()
	d, err := deadline.New(limit, o)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// serve serves s in the bubble, and returns a connection to it.
func serve(t *testing.T, s *grpctest.Service, server []grpc.ServerOption, client ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	return grpctest.Serve(t, s.Register, server, client...)
}

// guarded are server options with the interceptors of d.
func guarded(d *deadline.Deadline, o *Options) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.UnaryInterceptor(UnaryServerInterceptor(d, o)), grpc.StreamInterceptor(StreamServerInterceptor(d, o))}
}

// guarding are dial options with the interceptors of d.
func guarding(d *deadline.Deadline, o *Options) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithUnaryInterceptor(UnaryClientInterceptor(d, o)), grpc.WithStreamInterceptor(StreamClientInterceptor(d, o))}
}

// sleep works for a time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
