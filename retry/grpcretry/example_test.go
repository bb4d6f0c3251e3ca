package grpcretry_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/retry"
	"github.com/uprung/uprung/retry/grpcretry"
)

// moody is a server that is unavailable the first time.
type moody struct {
	grpc_health_v1.UnimplementedHealthServer
	calls int
}

func (m *moody) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	if m.calls++; m.calls == 1 {
		return nil, status.Error(codes.Unavailable, "starting")
	}
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	defer server.Stop()
	grpc_health_v1.RegisterHealthServer(server, &moody{})
	go server.Serve(l)

	retrier, err := retry.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	reads := func(method string) bool { return strings.HasSuffix(method, "/Check") }
	conn, err := grpc.NewClient(l.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(grpcretry.UnaryClientInterceptor(retrier, reads)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	reply, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	fmt.Println(reply.GetStatus(), err, retrier.Stats().Retries)
	// Output: SERVING <nil> 1
}
