package grpcchaos_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/chaos"
	"github.com/uprung/uprung/chaos/grpcchaos"
)

// A client whose calls fail for a minute, or until that is enough.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	injector, err := chaos.New([]chaos.Fault{{Name: "flaky", Code: uint32(codes.Unavailable)}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithChainUnaryInterceptor(grpcchaos.UnaryClientInterceptor(injector)), // last of the chain
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	check := func() {
		_, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
		fmt.Println(status.Code(err), "injected:", errors.Is(err, chaos.ErrInjected))
	}

	check()
	if err := injector.Arm(time.Minute); err != nil {
		log.Fatal(err)
	}
	check()
	injector.Disarm()
	check()
	// Output:
	// OK injected: false
	// Unavailable injected: true
	// OK injected: false
}
