// Package grpclimit bounds how many gRPC calls are in progress at once, in servers and
// clients, as a [ratelimit.Concurrency] does for HTTP: what does not fit is refused
// before any work is done for it.
//
// One limit can serve both faces of a program: give the same Concurrency to its
// Middleware and to the interceptors here, and calls and requests share its places.
//
// Do not use it to pace calls, so many a second: it knows how many are in progress and
// not how often they come.
//
// # The shortest path
//
//	limit, err := ratelimit.NewConcurrency(ratelimit.Adaptive(), nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	server := grpc.NewServer(
//		grpc.ChainUnaryInterceptor(grpclimit.UnaryServerInterceptor(limit, nil)),
//		grpc.ChainStreamInterceptor(grpclimit.StreamServerInterceptor(limit, nil)),
//	)
//
// # Choosing
//
//	you have                              use
//	a server                              UnaryServerInterceptor, StreamServerInterceptor
//	a dependency that must not take all   UnaryClientInterceptor, StreamClientInterceptor
//	streams that are open for hours       Options.Lasting
//	tenants, or calls that matter less    Options.Claim
//
// # Behavior
//
// A call for which there is no place is refused with UNAVAILABLE and a RetryInfo, which
// well-behaved clients heed; one whose deadline has passed with DEADLINE_EXCEEDED. In a
// server the message of a unary call has been decoded by then, as grpc decodes before
// it calls interceptors; streams are refused before anything is received. In a client
// nothing is sent, and the error matches a [uprung.Rejection] as well.
//
// A unary call has its place until it ends. A stream has its own until it ends too, but
// its time teaches the limit nothing, since it may last for as long as its peers want.
// Streams that are meant to last, of which thousands may be idle, are told by
// Options.Lasting: they ask for a place to begin, and then move to those for streams.
//
// The errors of calls are judged as everywhere in this library. In a server a handler's
// RESOURCE_EXHAUSTED is the refusal of another guard and says nothing; in a client it
// lowers an adaptive limit, and so does UNAVAILABLE with a time to retry after.
//
// Options.Skip, Mode, queue and all else of the Concurrency hold as documented there,
// but for its functions of HTTP requests. Everything here is safe for concurrent use.
//
// # References
//
//   - Status codes and their use in gRPC, doc/statuscodes.md of github.com/grpc/grpc.
//   - google/rpc/error_details.proto: RetryInfo.
package grpclimit
