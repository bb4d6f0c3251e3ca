package grpclimit

import (
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"

	"github.com/uprung/uprung/ratelimit"
)

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// limitOf returns a limit of n calls.
func limitOf(tb testing.TB, n int) *ratelimit.Concurrency {
	tb.Helper()
	c, err := ratelimit.NewConcurrency(ratelimit.AtMost(n), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// limited are server options with the interceptors of c.
func limited(c *ratelimit.Concurrency, o *Options) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.UnaryInterceptor(UnaryServerInterceptor(c, o)), grpc.StreamInterceptor(StreamServerInterceptor(c, o))}
}

// limiting are dial options with the interceptors of c.
func limiting(c *ratelimit.Concurrency, o *Options) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithUnaryInterceptor(UnaryClientInterceptor(c, o)), grpc.WithStreamInterceptor(StreamClientInterceptor(c, o))}
}

// rateOf returns a limiter.
func rateOf(tb testing.TB, limit ratelimit.Limit, o *ratelimit.Options) *ratelimit.Limiter {
	tb.Helper()
	l, err := ratelimit.New(limit, o)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// rated are server options with the interceptors of l.
func rated(l Limiter, o *RateOptions) []grpc.ServerOption {
	return []grpc.ServerOption{grpc.UnaryInterceptor(RateUnaryServerInterceptor(l, o)), grpc.StreamInterceptor(RateStreamServerInterceptor(l, o))}
}

// rating are dial options with the interceptors of l.
func rating(l Limiter, o *RateOptions) []grpc.DialOption {
	return []grpc.DialOption{grpc.WithUnaryInterceptor(RateUnaryClientInterceptor(l, o)), grpc.WithStreamInterceptor(RateStreamClientInterceptor(l, o))}
}
