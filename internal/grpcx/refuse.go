package grpcx

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
)

// Refuse returns a refusal as gRPC knows errors: a status of this code, with a RetryInfo
// if it is known when to try again, so that it passes through servers and proxies. It
// matches the rejection and its reason by errors.As and errors.Is where it was made.
func Refuse(code codes.Code, r *uprung.Rejection) error {
	s := status.New(code, r.Error())
	if r.RetryAfter > 0 {
		s = WithRetryInfo(s, r.RetryAfter)
	}
	return &refusal{rejection: r, status: s}
}

type refusal struct {
	rejection *uprung.Rejection
	status    *status.Status
}

// Error returns the text that all errors of gRPC have.
func (r *refusal) Error() string { return r.status.Err().Error() }

// Unwrap returns the rejection.
func (r *refusal) Unwrap() error { return r.rejection }

// GRPCStatus is asked by package status, and by servers whose handlers return r.
func (r *refusal) GRPCStatus() *status.Status { return r.status }
