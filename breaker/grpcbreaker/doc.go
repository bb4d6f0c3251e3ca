// Package grpcbreaker guards gRPC calls with the breakers of package breaker, in clients
// and in servers.
//
// A client stops calling a service, or a method, that fails. A server stops calling
// handlers that fail, and so answers at once. Do not use it for a service that fails for
// some of its callers only: one breaker is for all.
//
// # The shortest path
//
//	orders, err := breaker.New(&breaker.Options{Name: "orders"})
//	if err != nil {
//		log.Fatal(err)
//	}
//	conn, err := grpc.NewClient(target,
//		grpc.WithChainUnaryInterceptor(grpcbreaker.UnaryClientInterceptor(grpcbreaker.One(orders), nil)),
//		grpc.WithChainStreamInterceptor(grpcbreaker.StreamClientInterceptor(grpcbreaker.One(orders), nil)),
//		...
//	)
//
// With a breaker for each method:
//
//	methods, err := breaker.NewGroup[string](nil)
//	...
//	grpcbreaker.UnaryServerInterceptor(grpcbreaker.ByMethod(methods), nil)
//
// # Behavior
//
// What counts. INTERNAL, UNKNOWN, DATA_LOSS and UNAVAILABLE are failures, and so is a
// DEADLINE_EXCEEDED after the breaker's Options.Patience. RESOURCE_EXHAUSTED, and
// UNAVAILABLE that says when to try again, ask for less load and do not count; neither
// does CANCELLED, nor what another guard refuses. All other codes are successes: the
// server has done its work. In a server, a panic of the handler is a failure, and goes
// on.
//
// A call that is refused ends with UNAVAILABLE and a RetryInfo, and matches
// [breaker.ErrOpen] where it was refused.
//
// Streams. How a stream has ended is known at its end: when RecvMsg returns io.EOF or an
// error, or has returned the only message. How long it takes up to the first message is
// what may be slow, and a probe is waited for; afterwards it can be open for as long as
// it likes. A stream that is never read to its end does not count, but for its context.
//
// Options.Key, Refused, Fallback and Skip of a breaker have no meaning here. A Mode of
// Percent goes by the key of a group.
//
// Put it inside of retries, so that it sees each attempt. It starts no goroutine, and is
// safe for concurrent use.
//
// # References
//
//   - Status codes and their use in gRPC, doc/statuscodes.md of github.com/grpc/grpc.
package grpcbreaker
