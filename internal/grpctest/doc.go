// Package grpctest starts gRPC servers in memory for the tests of this library: whole
// servers and clients of grpc, over connections that work in a synctest bubble.
//
//	s := &grpctest.Service{Unary: func(ctx context.Context) error { return nil }}
//	conn := grpctest.Serve(t, s.Register, []grpc.ServerOption{...})
//	err := grpctest.Call(t.Context(), conn)
//
// Everything ends with the test.
package grpctest
