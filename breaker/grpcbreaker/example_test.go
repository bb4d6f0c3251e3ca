package grpcbreaker_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/breaker"
	"github.com/uprung/uprung/breaker/grpcbreaker"
)

// broken is a server that has a bug.
type broken struct {
	grpc_health_v1.UnimplementedHealthServer
	asked int
}

func (b *broken) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	b.asked++
	return nil, fmt.Errorf("no such table")
}

// A client of a server that fails asks it twenty times, and then no more.
func Example() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server, service := grpc.NewServer(), &broken{}
	grpc_health_v1.RegisterHealthServer(server, service)
	go server.Serve(l)

	methods, err := breaker.NewGroup[string](nil)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient(l.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(grpcbreaker.UnaryClientInterceptor(grpcbreaker.ByMethod(methods), nil)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	for range 100 {
		_, err = client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	}
	server.GracefulStop()
	fmt.Println(service.asked, status.Code(err))
	// Output: 20 Unavailable
}
