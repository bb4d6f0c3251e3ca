// Package grpc puts the balancing of package grpcbalance and the retries of package
// grpcretry before real gRPC servers, which are killed, stopped and slowed down
// meanwhile: calls that can be repeated all succeed, and the servers see hardly more of
// them.
package grpc
