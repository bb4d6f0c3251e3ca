package grpchealth_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/health/grpchealth"
)

func Example() {
	registry := uprung.Must(health.NewRegistry([]health.Check{
		{Name: "database", Probe: func(context.Context) error { return nil }}, // db.PingContext
	}, &health.RegistryOptions{DrainWait: -1}))
	server, err := grpchealth.NewServer(registry, nil)
	if err != nil {
		log.Fatal(err)
	}
	grpcServer := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(grpcServer, server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = grpcServer.Serve(listener) }()

	prober, err := grpchealth.NewProber([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer prober.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(prober.Probe(ctx, listener.Addr().String()))

	draining := func(ctx context.Context) error {
		fmt.Println(prober.Probe(ctx, listener.Addr().String()))
		return nil
	}
	fmt.Println(registry.Drain(ctx, draining))
	fmt.Println(registry.Drain(ctx, grpchealth.GracefulStop(grpcServer)))
	// Output:
	// <nil>
	// grpchealth: status is NOT_SERVING, want SERVING
	// <nil>
	// <nil>
}

func ExampleNewProber() {
	_, err := grpchealth.NewProber(nil, &grpchealth.ProberOptions{MaxConns: -1})
	fmt.Println(err)
	// Output:
	// grpchealth: ProberOptions.MaxConns is -1, want >= 0
	// grpchealth: dial options: grpc: no transport security set (use grpc.WithTransportCredentials(insecure.NewCredentials()) explicitly or set credentials)
}

func ExampleNewServer() {
	_, err := grpchealth.NewServer(nil, &grpchealth.ServerOptions{Interval: -1, Services: []string{"app.v1.Carts", "app.v1.Carts"}})
	fmt.Println(err)
	// Output:
	// grpchealth: registry is nil, want what knows the state of the program
	// grpchealth: ServerOptions.Interval is -1ns, want >= 0
	// grpchealth: ServerOptions.Services[1] is "app.v1.Carts", want each service once
}
