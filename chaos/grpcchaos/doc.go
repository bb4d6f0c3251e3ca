// Package grpcchaos injects the faults of package chaos into calls of gRPC, unary and
// streaming, in clients and servers.
//
// Put it last of a chain of interceptors, so that all others meet the faults.
//
//	injector, err := chaos.New([]chaos.Fault{{Name: "flaky", Share: 0.05, Code: uint32(codes.Unavailable)}}, nil)
//	...
//	conn, err := grpc.NewClient(target, grpc.WithChainUnaryInterceptor(retries, grpcchaos.UnaryClientInterceptor(injector)))
//
// # Behavior
//
// A fault comes before the call: it is delayed, or fails with a code, and is not made
// then. Of a stream it is the opening. Which code that is, is said by Fault.Code, or else
// follows from Status, Reset and Err; RetryAfter goes along as a RetryInfo, which
// retry/grpcretry understands. Body is for HTTP, and without effect here.
//
// Errors that are made in clients match [chaos.ErrInjected]. A server marks its answer in
// the trailer "chaos-fault". [chaos.Call] has the context and the full method.
package grpcchaos
