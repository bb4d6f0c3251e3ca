package grpcdeadline_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/deadline"
	"github.com/uprung/uprung/deadline/grpcdeadline"
)

// slow is a server that answers after a minute, if somebody waits for so long.
type slow struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (slow) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	left, _ := deadline.Remaining(ctx)
	fmt.Println("at most 100 ms:", left <= 100*time.Millisecond)
	select {
	case <-time.After(time.Minute):
		return &grpc_health_v1.HealthCheckResponse{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// The server gives each call five seconds, and this one as long as its client waits.
func Example() {
	incoming, err := deadline.New(5*time.Second, nil)
	if err != nil {
		log.Fatal(err)
	}
	outgoing, err := deadline.New(100*time.Millisecond, nil)
	if err != nil {
		log.Fatal(err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(grpcdeadline.UnaryServerInterceptor(incoming, nil)))
	grpc_health_v1.RegisterHealthServer(server, slow{})
	go server.Serve(l)

	conn, err := grpc.NewClient(l.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(grpcdeadline.UnaryClientInterceptor(outgoing, nil)),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	server.GracefulStop()
	fmt.Println(status.Code(err))
	// Output:
	// at most 100 ms: true
	// DeadlineExceeded
}
