// Package grpchealth speaks the health protocol of gRPC, grpc.health.v1, for package
// health: a [Prober] asks servers on behalf of a [health.Monitor], and a [Server]
// answers clients and probes from a [health.Registry].
//
// Do not use it where servers also speak HTTP and the probe is one of Kubernetes or
// a balancer: Registry.Ready says the same with less.
//
// # The shortest path
//
// To serve the state of a program, and to end it cleanly:
//
//	server, err := grpchealth.NewServer(registry, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	grpc_health_v1.RegisterHealthServer(grpcServer, server)
//	go server.Run(ctx)
//	...
//	err = registry.Drain(ctx, grpchealth.GracefulStop(grpcServer))
//
// To probe others:
//
//	prober, err := grpchealth.NewProber([]grpc.DialOption{
//		grpc.WithTransportCredentials(insecure.NewCredentials()), // or TLS
//	}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer prober.Close()
//	monitor, err := health.NewMonitor(prober, nil)
//
// # Behavior
//
// Check evaluates readiness when it is called, as [health.Registry.Readiness] does:
// results hold for their TTL, and calls at one time share a run. Watch sends the
// state at once and then each change; a service that is not registered is
// SERVICE_UNKNOWN, and its stream stays open. A watcher that does not read misses
// states between, and gets the latest.
//
// Without Run, a watcher is told of a change when somebody calls Check or begins to
// watch. With it, within ServerOptions.Interval, and of a drain at once. Every
// service is NOT_SERVING from when a drain has begun.
//
// A Prober keeps one connection for each address that works, and dials anew after a
// failure, so that the backoff of a connection never delays the news that a server
// is back. It keeps as many as ProberOptions.MaxConns; those used least recently are
// closed. Addresses are dialled as they are, without name resolution by gRPC.
//
// GracefulStop waits for streams, and for watchers among them. Clients of gRPC end
// theirs when the server says that it goes away; others are cut off when the context
// of the drain ends.
//
// # References
//
//   - GRPC Health Checking Protocol, doc/health-checking.md of github.com/grpc/grpc.
//   - gRFC A17: Client-Side Health Checking.
package grpchealth
