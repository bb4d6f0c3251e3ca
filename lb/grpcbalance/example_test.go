package grpcbalance_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/lb/grpcbalance"
)

// greeter is a service, for which that of health stands here: it needs no protoc.
type greeter struct {
	grpc_health_v1.UnimplementedHealthServer
	err error
}

func (g greeter) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{}, g.err
}

// Two servers behind one client. One of them always fails: after five times it is left
// alone.
func Example() {
	if err := grpcbalance.Register("uprung", nil); err != nil { // once, in main
		log.Fatal(err)
	}

	// A resolver whose answer is known; in production it is dns:///name:port.
	addresses := manual.NewBuilderWithScheme("example")
	var found resolver.State
	for _, g := range []greeter{{}, {err: status.Error(codes.Internal, "broken")}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, g)
		go func() { _ = server.Serve(listener) }()
		defer server.Stop()
		found.Addresses = append(found.Addresses, resolver.Address{Addr: listener.Addr().String()})
	}
	addresses.InitialState(found)

	conn, err := grpc.NewClient("example:///greeter",
		grpc.WithResolvers(addresses),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(grpcbalance.ServiceConfig("uprung")),
		grpc.WithChainStreamInterceptor(grpcbalance.StreamClientInterceptor()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)

	call := func() error {
		_, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
		return err
	}

	// Servers are called as soon as they are connected. As long as the failing one is the
	// only one, no other can spare its callers.
	for call() != nil {
	}
	failures := 0
	for range 1000 {
		if call() != nil {
			failures++
		}
	}
	fmt.Println("at most 5 of 1000 calls failed:", failures <= 5)
	// Output: at most 5 of 1000 calls failed: true
}

func ExampleNew() {
	_, err := grpcbalance.New("Orders", &grpcbalance.Options{
		PanicThreshold: 2,
		Outlier:        grpcbalance.Outlier{Consecutive: -1},
	})
	fmt.Println(err)
	// Output:
	// grpcbalance: name is "Orders", want 1 to 64 lower-case letters, digits, _, - and dots
	// grpcbalance: PanicThreshold is 2, want at most 1
	// grpcbalance: Outlier.Consecutive is -1, want >= 0
}

// The figures of a balancer can be had if it is made before it is registered.
func ExampleBalancer_Register() {
	orders, err := grpcbalance.New("orders", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := orders.Register(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(orders.Stats().Channels, "channels")
	fmt.Println(grpcbalance.ServiceConfig("orders"))
	fmt.Println(orders.Register())
	// Output:
	// 0 channels
	// {"loadBalancingConfig":[{"orders":{}}]}
	// grpcbalance: name is "orders", want one that is not registered yet
}
