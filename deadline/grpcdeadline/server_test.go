package grpcdeadline

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/internal/grpctest"
	"github.com/uprung/uprung/internal/memnet"
)

// TestServer has a row for what a caller says and how long the work takes, once as a
// unary call and once as a stream.
func TestServer(t *testing.T) {
	const limit = time.Second
	for _, tt := range []struct {
		name    string
		o       deadline.Options
		skip    bool
		brings  time.Duration // zero means no deadline
		within  time.Duration // what the handler has; zero means no deadline, negative that it is not called
		takes   time.Duration
		want    codes.Code
		counted deadline.Stats
	}{
		{"the limit", deadline.Options{}, false, 0, limit, 0, codes.OK, deadline.Stats{Done: 1}},
		{"a later deadline", deadline.Options{}, false, time.Minute, limit, 0, codes.OK, deadline.Stats{Done: 1}},
		{"an earlier deadline", deadline.Options{}, false, 300 * time.Millisecond, 300 * time.Millisecond, 0, codes.OK, deadline.Stats{Done: 1}},
		{"too late", deadline.Options{}, false, time.Minute, limit, 2 * limit, codes.DeadlineExceeded, deadline.Stats{Exceeded: 1}},
		{"not enough", deadline.Options{MinRemaining: 100 * time.Millisecond}, false, 50 * time.Millisecond, -1, 0, codes.DeadlineExceeded, deadline.Stats{Refused: 1}},
		{"shadow", deadline.Options{Mode: uprung.Shadow}, false, time.Minute, time.Minute, 2 * limit, codes.OK, deadline.Stats{ShadowExceeded: 1}},
		{"off", deadline.Options{Mode: uprung.Off}, false, 0, 0, 2 * limit, codes.OK, deadline.Stats{}},
		{"exempt", deadline.Options{}, true, 0, 0, 2 * limit, codes.OK, deadline.Stats{}},
	} {
		for _, streaming := range []bool{false, true} {
			name := tt.name + map[bool]string{false: ", unary", true: ", streaming"}[streaming]
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					d := mustNew(t, limit, &tt.o)
					var called atomic.Bool
					work := func(ctx context.Context) error {
						called.Store(true)
						left, ok := deadline.Remaining(ctx)
						if left != tt.within || ok != (tt.within != 0) {
							t.Errorf("the handler has %v, %t, want %v", left, ok, tt.within)
						}
						return sleep(ctx, tt.takes)
					}
					conn := serve(t, &grpctest.Service{Unary: work, Stream: func(s grpc.ServerStream) error { return work(s.Context()) }},
						guarded(d, &Options{Skip: func(_ context.Context, method string) bool {
							if method != grpctest.Unary && method != grpctest.Both {
								t.Errorf("method is %q", method)
							}
							return tt.skip
						}}))
					ctx := t.Context()
					if tt.brings != 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, tt.brings)
						defer cancel()
					}
					var err error
					if streaming {
						var s grpc.ClientStream
						if s, err = grpctest.Open(ctx, conn, grpctest.Both); err == nil {
							if err = s.RecvMsg(new(grpctest.Response)); errors.Is(err, io.EOF) {
								err = nil
							}
						}
					} else {
						err = grpctest.Call(ctx, conn)
					}
					if got := status.Code(err); got != tt.want {
						t.Errorf("code is %v (%v), want %v", got, err, tt.want)
					}
					if called.Load() != (tt.within >= 0) {
						t.Errorf("the handler was called: %t, want %t", called.Load(), tt.within >= 0)
					}
					synctest.Wait()
					if got := d.Stats(); got != tt.counted {
						t.Errorf("counted %+v, want %+v", got, tt.counted)
					}
				})
			})
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	d := mustNew(t, time.Second, &deadline.Options{Mode: uprung.Percent(50)})
	at := func(addr string) context.Context {
		return peer.NewContext(t.Context(), &peer.Peer{Addr: text(addr)})
	}
	for _, tt := range []struct {
		ctx  context.Context //nolint:containedctx // a table of them
		want string
		ok   bool
	}{
		{at("192.0.2.1:1234"), "192.0.2.1", true},
		{at("192.0.2.1:5678"), "192.0.2.1", true},
		{at("@"), "", false},
		{t.Context(), "", false},
	} {
		if got, ok := byPeer(tt.ctx, grpctest.Unary); got != tt.want || ok != tt.ok {
			t.Errorf("byPeer = %q, %t, want %q, %t", got, ok, tt.want, tt.ok)
		}
	}
	intercept := UnaryServerInterceptor(d, &Options{Key: func(_ context.Context, method string) (string, bool) { return method, true }})
	for _, method := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		_, _ = intercept(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: method}, func(ctx context.Context, _ any) (any, error) {
			if _, has := ctx.Deadline(); has != d.Mode().Enforces(method) {
				t.Errorf("method %s has a deadline: %t, want as the mode says of its key", method, has)
			}
			return nil, nil
		})
	}
}

// text is an address.
type text string

func (text) Network() string  { return "test" }
func (a text) String() string { return string(a) }

// What is left crosses from HTTP to gRPC and back.
func TestTrapDeadlinesCrossOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network memnet.Network
		everybody := func(*http.Request) bool { return true }
		start := func(h http.Handler) (*http.Transport, string) {
			l := network.Listen()
			server := &http.Server{Handler: h}
			go func() { _ = server.Serve(l) }()
			t.Cleanup(func() { _ = server.Close() })
			transport := &http.Transport{DialContext: network.DialContext}
			t.Cleanup(transport.CloseIdleConnections)
			return transport, "http://" + l.Addr().String()
		}
		get := func(ctx context.Context, rt http.RoundTripper, url string) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
		}
		expect := func(where string, ctx context.Context, want time.Duration) {
			if left, _ := deadline.Remaining(ctx); left != want {
				t.Errorf("%s has %v, want %v", where, left, want)
			}
			time.Sleep(100 * time.Millisecond)
		}
		wide := func() *deadline.Deadline { return mustNew(t, time.Minute, &deadline.Options{Trust: everybody}) }

		last, lastURL := start(wide().Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			expect("the last", r.Context(), 770*time.Millisecond)
		})))
		conn := serve(t, &grpctest.Service{Unary: func(ctx context.Context) error {
			expect("gRPC", ctx, 880*time.Millisecond)
			get(ctx, wide().Transport(last), lastURL)
			return nil
		}}, guarded(wide(), nil), guarding(wide(), nil)...)
		first, firstURL := start(wide().Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			expect("the first", r.Context(), 990*time.Millisecond)
			if err := grpctest.Call(r.Context(), conn); err != nil {
				t.Error(err)
			}
		})))
		get(t.Context(), mustNew(t, time.Second, nil).Transport(first), firstURL)
	})
}
