// Package grpcx is the ground that the gRPC leaves of this library share: how the
// result of a call is classified, how a server asks its clients to wait, and how a
// local refusal looks to callers that know nothing of this library. Guards that
// disagreed on what a failure is would work against each other.
//
// What speaks no gRPC has no need of it: package uprung classifies HTTP.
//
// # The shortest path
//
//	err := invoker(ctx, method, request, reply, cc, append(options, grpc.Trailer(&trailer))...)
//	switch grpcx.Outcome(ctx, err, trailer, time.Since(start), patience) {
//	case uprung.Failure:
//		...
//	}
//
// # Choosing
//
//	you have                                   use
//	the error of a call                        Outcome
//	an error that may say when to try again    RetryAfter
//	a refusal to return                        Refuse, and Pushback for its trailer
//	a call that came in, and no key for it     PeerKey
//
// # Behavior
//
// [Outcome] knows these codes:
//
//	OK                                     Success
//	INVALID_ARGUMENT, NOT_FOUND,           Success: the server did its work, and the
//	ALREADY_EXISTS, PERMISSION_DENIED,     caller's mistake or the state of the data is
//	UNAUTHENTICATED, OUT_OF_RANGE,         the answer, as with a 4xx of HTTP
//	FAILED_PRECONDITION, ABORTED
//	UNIMPLEMENTED                          Success: see below
//	CANCELLED                              Ignored, unless by an attempt's timeout
//	DEADLINE_EXCEEDED                      Failure after patience or by an attempt's
//	                                       timeout, else Ignored
//	RESOURCE_EXHAUSTED                     Overload
//	UNAVAILABLE                            Failure, or Overload if it says when to try again
//	INTERNAL, UNKNOWN, DATA_LOSS           Failure, as with a 500
//	any other                              Failure
//
// UNIMPLEMENTED is the code of which opinions differ. It is how a server says that it
// has no such method, and what a proxy's 404 is turned into: the mistake of a caller,
// or the answer to one that asks for what only newer servers have. A client that tries
// an optional method must not take its servers out by it.
//
// UNKNOWN is what a handler returns that knows nothing of codes, or one that has
// panicked behind an interceptor that recovers; it is a failure, since most of them
// are.
//
// A message that is too large to be sent or received is RESOURCE_EXHAUSTED too, made by
// the client itself. It cannot be told from a server's, and is an Overload.
//
// Everything here is safe for concurrent use, and nothing blocks.
//
// # References
//
//   - Status codes and their use in gRPC, doc/statuscodes.md of github.com/grpc/grpc.
//   - gRFC A6: gRPC Retry Design (grpc-retry-pushback-ms).
//   - google/rpc/error_details.proto: RetryInfo, and google/rpc/code.proto, which maps
//     codes to those of HTTP.
//   - Protocol Buffers: Encoding.
package grpcx
