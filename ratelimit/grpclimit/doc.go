// Package grpclimit limits gRPC calls, in servers and clients, as package ratelimit does
// HTTP requests: how often they are made, by a [ratelimit.Limiter], and how many are in
// progress at once, by a [ratelimit.Concurrency]. What exceeds a limit is refused before
// any work is done for it; clients wait for their turn.
//
// One limit can serve both faces of a program: give one Limiter or Concurrency to its
// Middleware and to the interceptors here, and calls and requests share what it grants.
//
// Do not use it to count the messages of streams: it knows how often they are opened.
//
// # The shortest path
//
// A hundred calls a second for each client:
//
//	limiter, err := ratelimit.New(ratelimit.PerSecond(100), nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	server := grpc.NewServer(
//		grpc.ChainUnaryInterceptor(grpclimit.RateUnaryServerInterceptor(limiter, nil)),
//		grpc.ChainStreamInterceptor(grpclimit.RateStreamServerInterceptor(limiter, nil)),
//	)
//
// As many calls at once as the server can do well:
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
//	clients that may call so often        RateUnaryServerInterceptor, RateStreamServerInterceptor
//	the same, and large messages          RateTap
//	a service that may be called so often RateUnaryClientInterceptor, RateStreamClientInterceptor
//	one limit for many processes          the same, with a limiter of package redislimit
//	work for so many at once              UnaryServerInterceptor, StreamServerInterceptor
//	a dependency that must not take all   UnaryClientInterceptor, StreamClientInterceptor
//	streams that are open for hours       Options.Lasting
//	tenants, or calls that matter less    Options.Claim
//
// Whose limit a call counts against:
//
//	a client is                           RateOptions.Key
//	an address that connects              ByPeer, the default
//	an address behind trusted proxies     ByRequest(key.Proxied(...)), or another of package key
//	a key or tenant in the metadata       ByMetadata
//	what its certificate names            ByCertificate
//	of no interest                        ByMethod
//	the same as over HTTP                 ByRequest, with the Key of the ratelimit.Options
//
// # Behavior
//
// Rates. In a server, a call beyond the limit of its key ends with RESOURCE_EXHAUSTED. When
// to try again is in a RetryInfo and in the trailer grpc-retry-pushback-ms, in milliseconds
// that are not less; if time does not help, as with a cost above the burst, there is no
// RetryInfo, and the trailer is -1. A call without a key ends with INVALID_ARGUMENT, and one
// for which a limiter that is elsewhere cannot be asked with UNAVAILABLE; why not, clients
// are not told. In a client, calls
// wait until the limit grants them, and are held back when a server says when to try
// again; what cannot be granted in time is refused with an error that matches a
// [uprung.Rejection] as well. The limiter counts and its Mode holds as for HTTP, but
// calls are not given back by how they end: Options.Count has no meaning here.
//
// Places. A call for which there is no place is refused with UNAVAILABLE and a RetryInfo,
// which well-behaved clients heed; one whose deadline has passed with DEADLINE_EXCEEDED. In
// a client nothing is sent, and the error matches a [uprung.Rejection] as well.
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
// Messages. In a server the message of a unary call has been received and decoded before
// an interceptor can refuse it, as grpc does that first; [RateTap] comes before. Streams are
// refused before anything is received.
//
// Put a rate outside of a limit of places: a call that is refused needs none. The other
// settings of a Limiter or Concurrency hold as documented there, but for its functions of
// HTTP requests. Nothing here starts a goroutine, and everything is safe for concurrent use.
//
// # References
//
//   - Status codes and their use in gRPC, doc/statuscodes.md of github.com/grpc/grpc.
//   - google/rpc/error_details.proto: RetryInfo.
//   - gRFC A6: gRPC Retry Design (grpc-retry-pushback-ms).
package grpclimit
