package grpctest

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/uprung/uprung/internal/memnet"
)

// Serve serves what is registered, and returns a connection to it.
func Serve(tb testing.TB, register func(grpc.ServiceRegistrar), server []grpc.ServerOption, client ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	network := new(memnet.Network)
	_, addr := Listen(tb, network, register, server...)
	return Dial(tb, network, addr, client...)
}

// Listen serves what is registered on a network, and returns the server and its address.
func Listen(tb testing.TB, network *memnet.Network, register func(grpc.ServiceRegistrar), o ...grpc.ServerOption) (*grpc.Server, string) {
	tb.Helper()
	listener := network.Listen()
	server := grpc.NewServer(o...)
	register(server)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	tb.Cleanup(server.Stop)
	return server, listener.Addr().String()
}

// Dial returns a connection to an address of a network. Unless an option has others, its
// credentials are insecure.
func Dial(tb testing.TB, network *memnet.Network, addr string, o ...grpc.DialOption) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, append(Over(network), o...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Over are the options of a client on a network.
func Over(network *memnet.Network) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return network.DialContext(ctx, "tcp", addr)
		}),
	}
}
