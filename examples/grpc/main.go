// Command grpc calls three servers of gRPC, one of which fails, and shows where the calls
// went: first balanced by grpcbalance alone, and then with grpcretry above it, so that
// what fails is tried again elsewhere. grpcdeadline is outermost: a call has a second for
// all its attempts, and when that is over, a server that hangs is told so.
//
//	go run ./examples/grpc
//
// The servers are in this process, on the loopback interface, and serve grpc.health.v1,
// which needs no generated code of one's own. To adopt grpcbalance, register it once,
// name it in the service config, and leave the rest to its defaults.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/deadline/grpcdeadline"
	"github.com/uprung/uprung/lb/grpcbalance"
	"github.com/uprung/uprung/retry"
	"github.com/uprung/uprung/retry/grpcretry"
)

func main() {
	if err := errors.Join(grpcbalance.Register("orders", nil), run(os.Stdout, "orders")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run calls the servers through a balancer that has been registered.
func run(out io.Writer, name string) error {
	limit, err := deadline.New(time.Second, nil)
	if err != nil {
		return err
	}
	// In production this is dns:///orders.internal:443, or what your platform has.
	servers := manual.NewBuilderWithScheme("example")
	var found resolver.State
	var services []*service
	for _, s := range []*service{{name: "failing", fails: true}, {name: "good-1"}, {name: "good-2"}} {
		addr, err := s.start(grpc.ChainUnaryInterceptor(grpcdeadline.UnaryServerInterceptor(limit, nil)))
		if err != nil {
			return err
		}
		defer s.stop()
		services = append(services, s)
		found.Addresses = append(found.Addresses, resolver.Address{Addr: addr})
	}
	servers.InitialState(found)

	retrier, err := retry.New(nil)
	if err != nil {
		return err
	}
	reads := func(method string) bool { return strings.HasSuffix(method, "/Check") } // and nothing else
	balanced := []grpc.DialOption{
		grpc.WithResolvers(servers),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(grpcbalance.ServiceConfig(name)),
		grpc.WithChainUnaryInterceptor(grpcdeadline.UnaryClientInterceptor(limit, nil)), // outside of retries
		grpc.WithChainStreamInterceptor(grpcbalance.StreamClientInterceptor()),
	}
	retried := append(balanced[:len(balanced):len(balanced)],
		grpc.WithChainUnaryInterceptor(grpcretry.UnaryClientInterceptor(retrier, reads)),
		grpc.WithChainStreamInterceptor(grpcretry.StreamClientInterceptor(retrier)),
	)
	for _, with := range []struct {
		title   string
		options []grpc.DialOption
	}{{"balanced", balanced}, {"balanced and retried", retried}} {
		failed, err := send(with.options)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(out, table(with.title, failed, services)); err != nil {
			return err
		}
	}
	code, err := hang(retried)
	if err != nil {
		return err
	}
	var toldSo int64
	for _, s := range services {
		s.stop() // when its calls have ended
		toldSo += s.toldSo.Load()
	}
	_, err = fmt.Fprintf(out, "a call that hangs: %v, and %d server was told so\n", code, toldSo)
	return err
}

// hang makes a call that is not answered, and returns how it ends.
func hang(options []grpc.DialOption) (codes.Code, error) {
	conn, err := grpc.NewClient("example:///orders", options...)
	if err != nil {
		return codes.Unknown, err
	}
	defer func() { _ = conn.Close() }() // the call has ended
	_, err = grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{Service: stuck}, grpc.WaitForReady(true))
	return status.Code(err), nil
}

// stuck is what a server cannot answer for.
const stuck = "stuck"

// service is a server, and counts.
type service struct {
	grpc_health_v1.UnimplementedHealthServer
	name   string
	fails  bool
	calls  atomic.Int64
	toldSo atomic.Int64 // calls whose deadline has ended their work
	stop   func()
}

// Check takes 2 ms, or fails at once, or hangs until nobody waits for it any more.
func (s *service) Check(ctx context.Context, request *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.calls.Add(1)
	switch {
	case s.fails:
		return nil, status.Error(codes.Unavailable, "disk is full")
	case request.GetService() == stuck:
		<-ctx.Done()
		s.toldSo.Add(1)
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	time.Sleep(2 * time.Millisecond)
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// start serves on a free port.
func (s *service) start(options ...grpc.ServerOption) (addr string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(server, s)
	go func() { _ = server.Serve(listener) }() // ends with stop
	s.stop = server.GracefulStop
	return listener.Addr().String(), nil
}

// calls is how many send makes.
const calls = 400

// send makes calls over a connection of its own, four at a time, and returns how many
// failed.
func send(options []grpc.DialOption) (failed int64, err error) {
	conn, err := grpc.NewClient("example:///orders", options...)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }() // all calls have ended
	client := grpc_health_v1.NewHealthClient(conn)
	var sent, failures atomic.Int64
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for sent.Add(1) <= calls {
				if _, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
					failures.Add(1)
				}
			}
		})
	}
	senders.Wait()
	return failures.Load(), nil
}

// table shows where calls went, and counts from zero again.
func table(title string, failed int64, services []*service) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d calls failed\n%-8s %5s\n", title, failed, calls, "server", "calls")
	for _, s := range services {
		fmt.Fprintf(&b, "%-8s %5d\n", s.name, s.calls.Swap(0))
	}
	return b.String() + "\n"
}
