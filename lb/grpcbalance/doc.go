// Package grpcbalance gives clients of gRPC the balancing of package lb: each call goes
// to the endpoint from which an answer is expected first, so that one that is slow,
// stalled, failing or gone costs users almost nothing.
//
// It is a balancer for the ClientConn of grpc-go, which resolves names, connects and
// reconnects as ever. What it adds is the choice, by a policy of package pick, from what
// it sees of each call.
//
// Do not use it for a name that stands for a single address, such as that of a service
// mesh or of a cloud load balancer: there is nothing to choose. It does not repeat calls;
// that is for an interceptor, or for the retry policy of gRPC.
//
// # The shortest path
//
//	if err := grpcbalance.Register("uprung", nil); err != nil { // once, in main
//		log.Fatal(err)
//	}
//	conn, err := grpc.NewClient("dns:///orders.internal:443",
//		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
//		grpc.WithDefaultServiceConfig(grpcbalance.ServiceConfig("uprung")),
//		grpc.WithChainStreamInterceptor(grpcbalance.StreamClientInterceptor()),
//	)
//
// # Choosing
//
//	you have                                     use
//	one kind of service                          Register
//	figures to look at or to export              New, Balancer.Register
//	streams                                      StreamClientInterceptor
//	calls of one key that belong together        Options.Key, and lb.ByKey as Options.Policy
//	a circuit breaker for each endpoint          Options.Eligible
//	servers that serve grpc.health.v1            healthCheckConfig of the service config
//	another policy                               Options.Policy
//
// # Behavior
//
// A registration is global and for good: grpc-go finds balancers by name, in a registry
// of the process. It is the only global of this library. All else belongs to a
// connection (grpc.ClientConn); what one knows of endpoints, another does not.
//
// The default policy is [pick.AgeEWMA]. Of a unary call it learns how long the answer has
// taken, and while there is none, for how long it has been out.
//
// A stream says neither: that it is open for an hour is no reproach, and neither is that
// nothing has come for as long. With [StreamClientInterceptor], streams count as in
// progress, and as failures if they end with one, and change nothing else; a deadline
// that ends one is no failure. Without it nothing tells a stream from a unary call before
// it ends, and endpoints that have long streams seem to be stalled.
//
// Codes are classified as everywhere in this library: UNAVAILABLE, INTERNAL, UNKNOWN and
// DATA_LOSS are failures; RESOURCE_EXHAUSTED, and UNAVAILABLE that says when to try
// again, ask for less load; DEADLINE_EXCEEDED is a failure if the call has had
// Options.Patience, and CANCELLED says nothing; all others, UNIMPLEMENTED too, are
// successes. What never came to be sent says nothing either.
//
// An endpoint that fails five times in a row is ejected: nothing is sent to it for 3
// seconds, and longer the next time, but a tenth of the endpoints at most, or one, are out at a time. If
// fewer than half of them are usable, ejections are ignored. [Outlier] and [Options] have
// the numbers. Success rates and response times of endpoints are not compared, as package
// lb does, and there are no zones, no priorities and no slow start: a new endpoint gets
// one call at first from AgeEWMA, and what it takes for the rest depends on the answer.
//
// An endpoint is one of the resolver's, known by its first address, and is connected to by
// pick_first. Its weight is that which package weight of grpc-go has set, if any. Those
// that stay keep what is known of them. An empty answer of the resolver changes nothing
// once there are endpoints; grpc-go alone would drop them all. An endpoint that is gone
// finishes the calls that it has, and gets no other.
//
// Endpoints that an [uprung.Attempt] of the call's context has tried are avoided as long
// as there are others, and each choice is noted there. gRPC's own repetitions are attempts
// like any other: give the call a context with an Attempt, and they go elsewhere.
//
// As long as no endpoint is connected, calls wait or fail as ever in gRPC: those that are
// wait-for-ready wait, and others fail with UNAVAILABLE and the last error of a connection
// once that is known. If there are connected ones and none may be picked, since
// Options.Eligible refuses all, a call fails at once with a [*uprung.Rejection] that
// matches [lb.ErrNoEndpoint], which is UNAVAILABLE with a RetryInfo to all that know
// nothing of it.
//
// No goroutine is started. Memory is bounded by the number of endpoints.
//
// # References
//
//   - Package lb, and what it refers to.
//   - The documentation of google.golang.org/grpc/balancer, and of its endpointsharding.
//   - gRFC A61: IPv4 and IPv6 Dualstack Backend Support, on endpoints.
//   - gRFC A17: Client-Side Health Checking.
package grpcbalance
