package grpcx

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
)

// Outcome classifies the error with which a call has ended that was made under ctx and
// took this long. Nil, and io.EOF, by which a stream ends well, are a Success. The
// trailer is where a server may ask for patience; it may be nil. Zero patience means
// [uprung.DefaultPatience]. The package comment lists the codes.
//
// What is left open by the code is decided by [uprung.ErrorOutcome]: a local refusal is
// Ignored, an attempt's timeout ([uprung.ErrAttemptTimeout]) is a Failure, and errors
// for which the caller is not waiting any more are Ignored. Unlike there, a
// DEADLINE_EXCEEDED before patience is Ignored also while the deadline of ctx has not
// passed: servers are often given a little less time than their callers have.
func Outcome(ctx context.Context, err error, trailer metadata.MD, took, patience time.Duration) uprung.Outcome {
	if err == nil || err == io.EOF { //nolint:errorlint // a status that wraps EOF is no good end
		return uprung.Success
	}
	if _, rejected := errors.AsType[*uprung.Rejection](err); rejected {
		return uprung.Ignored
	}
	switch code(err) {
	case codes.OK, codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.Unauthenticated, codes.OutOfRange, codes.FailedPrecondition, codes.Aborted, codes.Unimplemented:
		return uprung.Success
	case codes.ResourceExhausted:
		return uprung.Overload
	case codes.Unavailable:
		if _, asked := RetryAfter(err, trailer); asked {
			return uprung.Overload
		}
	case codes.Canceled:
		err = context.Canceled
	case codes.DeadlineExceeded:
		if err = context.DeadlineExceeded; took < cmp.Or(patience, uprung.DefaultPatience) {
			err = context.Canceled // which says as little
		}
	}
	return uprung.ErrorOutcome(ctx, err, took, patience)
}

// code returns the code of an error, also of the errors of a context, which calls
// return that never came to gRPC.
func code(err error) codes.Code {
	if s, ok := status.FromError(err); ok {
		return s.Code()
	}
	return status.FromContextError(err).Code()
}
