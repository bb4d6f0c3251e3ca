package grpcbalance_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/uprung/uprung/lb/grpcbalance"
)

// Three servers behind one connection.
func Example() {
	servers := manual.NewBuilderWithScheme("example")
	var addresses []resolver.Address
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		server := grpc.NewServer()
		defer server.Stop()
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		go server.Serve(l)
		addresses = append(addresses, resolver.Address{Addr: l.Addr().String()})
	}
	servers.InitialState(resolver.State{Addresses: addresses})

	if err := grpcbalance.Register("uprung_example", nil); err != nil { // once, in main
		log.Fatal(err)
	}
	conn, err := grpc.NewClient("example:///health",
		grpc.WithResolvers(servers),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(grpcbalance.ServiceConfig("uprung_example")),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	for range 100 {
		reply, err := grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		if err != nil || reply.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			log.Fatal(reply, err)
		}
	}
	fmt.Println("100 calls")
	// Output: 100 calls
}
