package grpccache_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	health "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/cachetest"
	"github.com/uprung/uprung/cache/grpccache"
)

const check = "/grpc.health.v1.Health/Check"

// origin is a service that counts calls.
type origin struct {
	health.UnimplementedHealthServer
	calls atomic.Int64
	fail  atomic.Bool
	block chan struct{} // if it is not nil, calls wait for its end
}

func (o *origin) Check(ctx context.Context, r *health.HealthCheckRequest) (*health.HealthCheckResponse, error) {
	o.calls.Add(1)
	_ = grpc.SetHeader(ctx, metadata.Pairs("from", "origin"))
	if o.block != nil {
		<-o.block
	}
	if o.fail.Load() {
		return nil, status.Error(codes.FailedPrecondition, "it fails")
	}
	if r.Service == "empty" {
		return &health.HealthCheckResponse{}, nil
	}
	return &health.HealthCheckResponse{Status: health.HealthCheckResponse_SERVING}, nil
}

// dial returns a client of a server.
func dial(t testing.TB, o *origin, server []grpc.ServerOption, client ...grpc.DialOption) health.HealthClient {
	l := bufconn.Listen(1 << 16)
	s := grpc.NewServer(server...)
	health.RegisterHealthServer(s, o)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///origin", append(client,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return health.NewHealthClient(conn)
}

// byUser takes the user from the metadata, whichever side it is on.
func byUser(ctx context.Context, _ string) (string, bool) {
	md, ok := metadata.FromIncomingContext(ctx)
	if !ok {
		md, _ = metadata.FromOutgoingContext(ctx)
	}
	users := md.Get("user")
	if len(users) != 1 {
		return "", false
	}
	return users[0], true
}

func newCache(t testing.TB, m grpccache.Method, o *grpccache.Options) *grpccache.Cache {
	c, err := grpccache.New(100, map[string]grpccache.Method{check: m}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// sides runs a test with the cache in the server and in the client.
func sides(t *testing.T, m grpccache.Method, test func(t *testing.T, o *origin, c *grpccache.Cache, client health.HealthClient)) {
	t.Run("server", func(t *testing.T) {
		c, o := newCache(t, m, nil), &origin{}
		test(t, o, c, dial(t, o, []grpc.ServerOption{grpc.UnaryInterceptor(c.UnaryServerInterceptor())}))
	})
	t.Run("client", func(t *testing.T) {
		c, o := newCache(t, m, nil), &origin{}
		test(t, o, c, dial(t, o, nil, grpc.WithUnaryInterceptor(c.UnaryClientInterceptor())))
	})
}

func as(t *testing.T, user string) context.Context {
	return metadata.AppendToOutgoingContext(t.Context(), "user", user)
}

func TestARequestIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	sides(t, grpccache.Method{Whose: grpccache.Everybodys}, func(t *testing.T, o *origin, c *grpccache.Cache, client health.HealthClient) {
		for _, service := range []string{"a", "b", "empty"} {
			want := health.HealthCheckResponse_SERVING
			if service == "empty" {
				want = health.HealthCheckResponse_UNKNOWN
			}
			for range 3 {
				reply, err := client.Check(t.Context(), &health.HealthCheckRequest{Service: service})
				if err != nil || reply.Status != want {
					t.Fatalf("reply is %v, %v", reply, err)
				}
				reply.Status = health.HealthCheckResponse_NOT_SERVING // it is the caller's own
			}
		}
		if n := o.calls.Load(); n != 3 {
			t.Errorf("%d calls for 3 requests, want 3", n)
		}
		if err := c.Invalidate(t.Context(), check, "", &health.HealthCheckRequest{Service: "a"}); err != nil {
			t.Fatal(err)
		}
		for _, service := range []string{"a", "b"} {
			if _, err := client.Check(t.Context(), &health.HealthCheckRequest{Service: service}); err != nil {
				t.Fatal(err)
			}
		}
		if n := o.calls.Load(); n != 4 {
			t.Errorf("%d calls after one of two was invalidated, want 4", n)
		}
		if err := c.InvalidateMethods(t.Context(), check); err != nil {
			t.Fatal(err)
		}
		for _, service := range []string{"a", "b"} {
			if _, err := client.Check(t.Context(), &health.HealthCheckRequest{Service: service}); err != nil {
				t.Fatal(err)
			}
		}
		if n := o.calls.Load(); n != 6 {
			t.Errorf("%d calls after the method was invalidated, want 6", n)
		}
	})
}

func TestNobodyGetsAnothersReply(t *testing.T) {
	t.Parallel()
	sides(t, grpccache.Method{Whose: byUser}, func(t *testing.T, o *origin, _ *grpccache.Cache, client health.HealthClient) {
		for _, user := range []string{"ada", "bob", "ada", "bob"} {
			if _, err := client.Check(as(t, user), &health.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := o.calls.Load(); n != 2 {
			t.Errorf("%d calls for two users, want 2", n)
		}
		for range 3 { // of nobody
			if _, err := client.Check(t.Context(), &health.HealthCheckRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := o.calls.Load(); n != 5 {
			t.Errorf("%d calls after three of nobody, want 5", n)
		}
		// What is of one user and what is of the request is not mixed up.
		for _, pair := range [][2]string{{"a", "bc"}, {"ab", "c"}} {
			if _, err := client.Check(as(t, pair[0]), &health.HealthCheckRequest{Service: pair[1]}); err != nil {
				t.Fatal(err)
			}
		}
		if n := o.calls.Load(); n != 7 {
			t.Errorf("%d calls after two that look alike, want 7", n)
		}
	})
}

func TestErrorsAreNotKept(t *testing.T) {
	t.Parallel()
	sides(t, grpccache.Method{Whose: grpccache.Everybodys}, func(t *testing.T, o *origin, _ *grpccache.Cache, client health.HealthClient) {
		o.fail.Store(true)
		for range 2 {
			_, err := client.Check(t.Context(), &health.HealthCheckRequest{})
			if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "it fails" {
				t.Errorf("error is %v, want that of the service", err)
			}
		}
		o.fail.Store(false)
		if _, err := client.Check(t.Context(), &health.HealthCheckRequest{}); err != nil {
			t.Error(err)
		}
		if n := o.calls.Load(); n != 3 {
			t.Errorf("%d calls, want 3", n)
		}
	})
}

// Traps 1 and 2: many calls are one, and each is bound by its own context.
func TestCallsAtTheSameTimeAreOne(t *testing.T) {
	t.Parallel()
	c, o := newCache(t, grpccache.Method{Whose: grpccache.Everybodys}, nil), &origin{block: make(chan struct{})}
	client := dial(t, o, nil, grpc.WithUnaryInterceptor(c.UnaryClientInterceptor()))
	first, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := client.Check(first, &health.HealthCheckRequest{})
		left <- err
	}()
	for o.calls.Load() == 0 {
		time.Sleep(time.Millisecond) // gRPC tells nobody when a call has arrived
	}
	var others sync.WaitGroup
	var errs atomic.Int64
	var in sync.WaitGroup
	for range 50 {
		in.Add(1)
		others.Go(func() {
			in.Done()
			if _, err := client.Check(t.Context(), &health.HealthCheckRequest{}); err != nil {
				errs.Add(1)
			}
		})
	}
	in.Wait()
	impatient, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer end()
	if _, err := client.Check(impatient, &health.HealthCheckRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error of one that does not wait is %v", err)
	}
	leave()
	if err := <-left; status.Code(err) != codes.Canceled {
		t.Errorf("error of the first, that has left, is %v", err)
	}
	close(o.block)
	others.Wait()
	if errs.Load() > 0 || o.calls.Load() != 1 {
		t.Errorf("%d errors and %d calls, want none and 1", errs.Load(), o.calls.Load())
	}
}

func TestParticularCallsAreMade(t *testing.T) {
	t.Parallel()
	c, o := newCache(t, grpccache.Method{Whose: grpccache.Everybodys}, nil), &origin{}
	client := dial(t, o, nil, grpc.WithUnaryInterceptor(c.UnaryClientInterceptor()))
	for range 3 {
		var header metadata.MD
		if _, err := client.Check(t.Context(), &health.HealthCheckRequest{}, grpc.Header(&header)); err != nil {
			t.Fatal(err)
		}
		if len(header.Get("from")) != 1 {
			t.Errorf("the header is %v", header)
		}
	}
	if n := o.calls.Load(); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
	_ = c.Close()
	if _, err := client.Check(t.Context(), &health.HealthCheckRequest{}); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

// Processes share replies through a store.
func TestProcessesShareReplies(t *testing.T) {
	t.Parallel()
	engine, o := cachetest.NewEngine(), &origin{}
	for range 3 {
		c := newCache(t, grpccache.Method{TTL: time.Hour, Whose: grpccache.Everybodys},
			&grpccache.Options{Cache: cache.Options[string, []byte]{Store: engine.Client(), Namespace: "replies"}})
		client := dial(t, o, []grpc.ServerOption{grpc.UnaryInterceptor(c.UnaryServerInterceptor())})
		if _, err := client.Check(t.Context(), &health.HealthCheckRequest{Service: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

func TestNewSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := grpccache.New(0, map[string]grpccache.Method{
		check:                          {TTL: -1},
		"/grpc.health.v1.Health/Watch": {Whose: grpccache.Everybodys},
		"nowhere":                      {Whose: grpccache.Everybodys},
	}, &grpccache.Options{Cache: cache.Options[string, []byte]{Clone: func(b []byte) []byte { return b }}})
	for _, want := range []string{
		"Whose of " + fmt.Sprintf("%q", check) + " is nil", "TTL of " + fmt.Sprintf("%q", check) + " is -1ns, want >= 0",
		`method is "/grpc.health.v1.Health/Watch", want a unary`, `method is "nowhere", want a unary`,
		"Clone of Cache is set, want nil", "capacity is 0",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
	if _, err := grpccache.New(1, nil, nil); err == nil || errors.Unwrap(err) != nil && !strings.Contains(err.Error(), "methods is empty") {
		t.Errorf("without methods the error is %v", err)
	}
}

func Example() {
	c, err := grpccache.New(10_000, map[string]grpccache.Method{
		"/grpc.health.v1.Health/Check": {TTL: time.Second, Whose: grpccache.Everybodys},
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	server := grpc.NewServer(grpc.UnaryInterceptor(c.UnaryServerInterceptor()))
	defer server.Stop()
	fmt.Println(c.Stats().Capacity)
	// Output: 10000
}
