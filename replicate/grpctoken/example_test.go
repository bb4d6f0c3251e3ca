package grpctoken_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/uprung/uprung/internal/memsql"
	"github.com/uprung/uprung/replicate"
	"github.com/uprung/uprung/replicate/grpctoken"
)

// counter counts, in a database, how often it was called.
type counter struct {
	grpc_health_v1.UnimplementedHealthServer
	db *sql.DB
}

func (s counter) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	var n int64
	_ = s.db.QueryRowContext(ctx, "SELECT value FROM kv WHERE key = $1", "calls").Scan(&n)
	fmt.Println("calls before:", n)
	_, err := s.db.ExecContext(ctx, "UPDATE kv SET value = $2 WHERE key = $1", "calls", n+1)
	return &grpc_health_v1.HealthCheckResponse{}, err
}

// The replica lags by an hour, and every call sees the one before.
func Example() {
	servers := memsql.New(1) // a model; with pgx, nodes have stdlib.GetConnector(...)
	servers.Node(1).SetLag(time.Hour)
	cluster, err := replicate.New([]replicate.Node{
		{Name: "primary", Connector: servers.Node(0)},
		{Name: "replica", Connector: servers.Node(1)},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(cluster.Connector())
	defer db.Close()

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(grpctoken.UnaryServerInterceptor(cluster)))
	grpc_health_v1.RegisterHealthServer(server, counter{db: db})
	go server.Serve(l)
	defer server.Stop()

	conn, err := grpc.NewClient(l.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(grpctoken.UnaryClientInterceptor()),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx := grpctoken.WithJar(context.Background(), new(grpctoken.Jar))
	client := grpc_health_v1.NewHealthClient(conn)
	for range 3 {
		if _, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// calls before: 0
	// calls before: 1
	// calls before: 2
}
