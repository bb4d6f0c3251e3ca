// Package grpcdeadline bounds gRPC calls in servers and clients, as package deadline
// does for HTTP: a server gives no call more than its limit and drops those that nobody
// waits for any more, and a client bounds calls as a whole.
//
// gRPC passes on the deadline of a call's context by itself (grpc-timeout), and so this
// package adds no metadata. It also crosses over: a handler of HTTP that calls by gRPC
// with the context of its request passes on what is left, and so does the reverse with
// the Transport of a [deadline.Deadline].
//
// Do not use it for streams that are meant to last, such as watches: exempt their
// methods with Options.Skip.
//
// # The shortest path
//
//	limit, err := deadline.New(time.Second, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	server := grpc.NewServer(
//		grpc.ChainUnaryInterceptor(grpcdeadline.UnaryServerInterceptor(limit, nil)),
//		grpc.ChainStreamInterceptor(grpcdeadline.StreamServerInterceptor(limit, nil)),
//	)
//
// In a client, outside of retries:
//
//	conn, err := grpc.NewClient(target,
//		grpc.WithChainUnaryInterceptor(grpcdeadline.UnaryClientInterceptor(limit, nil), ...),
//		grpc.WithChainStreamInterceptor(grpcdeadline.StreamClientInterceptor(limit, nil), ...),
//		...
//	)
//
// # Behavior
//
// In a server, the deadline of a call is what its caller says, and at most the limit. A
// call that has less than Options.MinRemaining of the Deadline, or nothing, when its
// turn comes is refused with DEADLINE_EXCEEDED and its handler is not called. Unlike in
// HTTP, every caller is heeded: gRPC itself ends the context of a call at the deadline
// that it brings, with or without this package.
//
// A handler runs where it would without this package, and is waited for also if it
// ignores its context; the caller has given up by then, or gets what it returns.
//
// In a client, the deadline of a call is that of its context, and at most the limit,
// less Options.Margin of the Deadline. Unlike in HTTP, the margin is off for both sides,
// since there is one deadline for both: it is time in which the caller can still do
// something about the failure of the call. A call for which there is no time is refused
// with DEADLINE_EXCEEDED and a [*uprung.Rejection], without being sent.
//
// The deadline of a stream is for the whole of it. Its context ends when the last
// message or the error has been received, or at the deadline.
//
// A call that the mode does not enforce has the deadline that it would have without.
// Options.Header, Trust, Key, Refused and Skip of a Deadline have no meaning here.
//
// # References
//
//   - gRPC over HTTP2: grpc-timeout. gRPC documentation, "Deadlines".
package grpcdeadline
