// Package grpcretry repeats gRPC calls that failed, as package retry does with HTTP
// requests: for methods that are declared idempotent, within one budget, after a random
// pause or the one that the server asks for, and elsewhere if a balancer of package
// grpcbalance is below.
//
// gRPC's own retries, of its service configuration, do not know which methods are
// idempotent either, and have neither a budget for several channels nor a choice of
// another endpoint. Use one or the other, not both.
//
// # The shortest path
//
//	retrier, err := retry.New(nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	reads := func(method string) bool { return strings.HasPrefix(method, "/shop.Catalog/Get") }
//	conn, err := grpc.NewClient(target,
//		grpc.WithChainUnaryInterceptor(grpcretry.UnaryClientInterceptor(retrier, reads)),
//		grpc.WithChainStreamInterceptor(grpcretry.StreamClientInterceptor(retrier)),
//		...
//	)
//
// # Behavior
//
// A unary call is repeated if its method is idempotent and its outcome is a failure or
// an overload: UNAVAILABLE, INTERNAL, UNKNOWN, DATA_LOSS, RESOURCE_EXHAUSTED, or the
// timeout of an attempt. The time that a server asks for, as grpc-retry-pushback-ms or
// RetryInfo, is waited for; if it asks not to be tried again, it is not.
//
// A stream is opened again if it could not be opened, whatever its method, since then
// no server has seen anything of it. Once it is open nothing is repeated: what was sent
// and received is not kept.
//
// Local refusals ([uprung.Rejection]) are not repeated. Calls for which grpc waits until
// a connection is ready (WaitForReady) wait in each attempt.
//
// From the second on, attempts carry the metadata uprung-attempt with their number. A
// call that has it is passed on as it is, so that layers do not multiply. A service that
// makes calls or requests of its own has the interceptors for servers: then those that it
// makes on behalf of an attempt are marked as well, and once it has given up, a trailer
// tells its callers to do so too. [retry.Middleware] is the same for HTTP, and they
// understand one another.
//
//	server := grpc.NewServer(
//		grpc.ChainUnaryInterceptor(grpcretry.UnaryServerInterceptor()),
//		grpc.ChainStreamInterceptor(grpcretry.StreamServerInterceptor()),
//	)
//
// # References
//
//   - gRFC A6: gRPC Retry Design.
//   - google/rpc/error_details.proto: RetryInfo.
package grpcretry
