package grpctoken_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung/internal/memsql"
	"github.com/uprung/uprung/replicate"
	"github.com/uprung/uprung/replicate/grpctoken"
)

// store writes the number that the name of the service stands for, and fails if it is
// asked to. Watch does it in a stream.
type store struct {
	grpc_health_v1.UnimplementedHealthServer
	db      *sql.DB
	cluster *replicate.Cluster
}

func (s *store) write(ctx context.Context, service string) error {
	if s.cluster.BookmarkOf(ctx) == nil {
		return status.Error(codes.Internal, "there is no bookmark")
	}
	if _, err := s.db.ExecContext(ctx, "UPDATE kv SET value = $2 WHERE key = $1", "a", 1); err != nil {
		return err
	}
	if service == "fail" {
		return status.Error(codes.NotFound, "after it has written")
	}
	return nil
}

func (s *store) Check(ctx context.Context, r *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{}, s.write(ctx, r.GetService())
}

func (s *store) Watch(r *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	if err := stream.Send(&grpc_health_v1.HealthCheckResponse{}); err != nil {
		return err
	}
	return s.write(stream.Context(), r.GetService())
}

// connect serves a store and returns a client of it.
func connect(t *testing.T) (grpc_health_v1.HealthClient, *replicate.Cluster) {
	t.Helper()
	servers := memsql.New(1)
	servers.Node(1).SetLag(time.Hour)
	c, err := replicate.New([]replicate.Node{{Name: "p", Connector: servers.Node(0)}, {Name: "r", Connector: servers.Node(1)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c.Connector())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(grpctoken.UnaryServerInterceptor(c)), grpc.StreamInterceptor(grpctoken.StreamServerInterceptor(c)))
	grpc_health_v1.RegisterHealthServer(server, &store{db: db, cluster: c})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(grpctoken.UnaryClientInterceptor()), grpc.WithStreamInterceptor(grpctoken.StreamClientInterceptor()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return grpc_health_v1.NewHealthClient(conn), c
}

func TestTokensComeBack(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, grpc_health_v1.HealthClient, string) error{
		"unary": func(ctx context.Context, client grpc_health_v1.HealthClient, service string) error {
			_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
			return err
		},
		"stream": func(ctx context.Context, client grpc_health_v1.HealthClient, service string) error {
			stream, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
			for err == nil {
				_, err = stream.Recv()
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		},
	} {
		for service, want := range map[string]codes.Code{"": codes.OK, "fail": codes.NotFound} {
			t.Run(name+service, func(t *testing.T) {
				t.Parallel()
				client, c := connect(t)
				jar := new(grpctoken.Jar)
				ctx := grpctoken.WithJar(t.Context(), jar)
				seen := map[string]bool{}
				for range 3 {
					if err := call(ctx, client, service); status.Code(err) != want {
						t.Fatalf("the call returned %v, want %v", err, want)
					}
					if _, err := c.Open(jar.Token()); err != nil || seen[jar.Token()] || jar.Token() == "" {
						t.Fatalf("the token is %q, %v, after %v", jar.Token(), err, seen)
					}
					seen[jar.Token()] = true
				}
				if err := call(t.Context(), client, service); status.Code(err) != want {
					t.Errorf("a call without a jar returned %v", err)
				}
			})
		}
	}
}

func TestForgedTokenIsIgnored(t *testing.T) {
	t.Parallel()
	client, c := connect(t)
	jar := new(grpctoken.Jar)
	jar.SetToken("forged")
	if _, err := client.Check(grpctoken.WithJar(t.Context(), jar), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	if jar.Token() == "forged" || c.Stats().TokensRefused != 1 {
		t.Errorf("the token is %q; %+v", jar.Token(), c.Stats())
	}
}

func TestNilClusterPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("a nil cluster was taken")
		}
	}()
	grpctoken.UnaryServerInterceptor(nil)
}
