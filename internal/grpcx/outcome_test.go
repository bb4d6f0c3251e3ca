package grpcx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
)

func TestOutcomeOfEveryCode(t *testing.T) {
	t.Parallel()
	want := map[codes.Code]uprung.Outcome{
		codes.OK: uprung.Success, codes.Canceled: uprung.Ignored, codes.Unknown: uprung.Failure,
		codes.InvalidArgument: uprung.Success, codes.DeadlineExceeded: uprung.Failure, codes.NotFound: uprung.Success,
		codes.AlreadyExists: uprung.Success, codes.PermissionDenied: uprung.Success, codes.ResourceExhausted: uprung.Overload,
		codes.FailedPrecondition: uprung.Success, codes.Aborted: uprung.Success, codes.OutOfRange: uprung.Success,
		codes.Unimplemented: uprung.Success, codes.Internal: uprung.Failure, codes.Unavailable: uprung.Failure,
		codes.DataLoss: uprung.Failure, codes.Unauthenticated: uprung.Success,
	}
	for code := range codes.Code(25) { // 17 and above do not exist
		outcome, known := want[code]
		if !known {
			outcome = uprung.Failure
		}
		err := status.Error(code, "text")
		if got := Outcome(t.Context(), err, nil, time.Second, 0); got != outcome {
			t.Errorf("%v is a %v, want %v", code, got, outcome)
		}
		if err == nil {
			continue
		}
		if got := Outcome(t.Context(), fmt.Errorf("wrapped: %w", err), nil, time.Second, 0); got != outcome {
			t.Errorf("%v, wrapped, is a %v, want %v", code, got, outcome)
		}
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	timedOut, timeOut := context.WithCancelCause(t.Context())
	timeOut(uprung.ErrAttemptTimeout)
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	canceled, deadline := status.Error(codes.Canceled, ""), status.Error(codes.DeadlineExceeded, "")
	unavailable, internal := status.Error(codes.Unavailable, ""), status.Error(codes.Internal, "")
	later := Refuse(codes.Unavailable, &uprung.Rejection{RetryAfter: time.Second})
	said := func(values ...string) metadata.MD { return metadata.MD{pushback: values} }
	for _, tt := range []struct {
		name           string
		ctx            context.Context //nolint:containedctx // a table of them
		err            error
		trailer        metadata.MD
		took, patience time.Duration
		want           uprung.Outcome
	}{
		{"none", t.Context(), nil, nil, time.Second, 0, uprung.Success},
		{"none, late", expired, nil, nil, time.Second, 0, uprung.Success},
		{"the end of a stream", t.Context(), io.EOF, nil, time.Second, 0, uprung.Success},
		{"a cut", t.Context(), io.ErrUnexpectedEOF, nil, time.Second, 0, uprung.Failure},
		{"no status", t.Context(), errors.New("text"), nil, time.Second, 0, uprung.Failure},

		{"cancelled", cancelled, canceled, nil, time.Hour, 0, uprung.Ignored},
		{"cancelled by the server", t.Context(), canceled, nil, time.Hour, 0, uprung.Ignored},
		{"cancelled before gRPC", cancelled, context.Canceled, nil, 0, 0, uprung.Ignored},
		{"cancelled and failed", cancelled, internal, nil, time.Hour, 0, uprung.Ignored},

		{"hasty", expired, deadline, nil, time.Second - 1, 0, uprung.Ignored},
		{"patient", expired, deadline, nil, time.Second, 0, uprung.Failure},
		{"less is enough", expired, deadline, nil, 100 * time.Millisecond, 100 * time.Millisecond, uprung.Failure},
		{"less is not", expired, deadline, nil, 99 * time.Millisecond, 100 * time.Millisecond, uprung.Ignored},
		{"hasty, says the server", t.Context(), deadline, nil, time.Millisecond, 0, uprung.Ignored},
		{"patient, says the server", t.Context(), deadline, nil, time.Minute, 0, uprung.Failure},
		{"hasty, before gRPC", expired, context.DeadlineExceeded, nil, 0, 0, uprung.Ignored},
		{"hasty, and failed", expired, internal, nil, 0, 0, uprung.Ignored},

		{"attempt timed out", timedOut, canceled, nil, time.Millisecond, 0, uprung.Failure},
		{"attempt timed out, by deadline", timedOut, deadline, nil, time.Millisecond, 0, uprung.Failure},
		{"attempt timed out, and answered", timedOut, status.Error(codes.NotFound, ""), nil, time.Millisecond, 0, uprung.Success},

		{"unavailable", t.Context(), unavailable, metadata.MD{}, 0, 0, uprung.Failure},
		{"pushback", t.Context(), unavailable, said("100"), 0, 0, uprung.Overload},
		{"pushback, at once", t.Context(), unavailable, said("0"), 0, 0, uprung.Overload},
		{"pushback, not at all", t.Context(), unavailable, said("-1"), 0, 0, uprung.Overload},
		{"RetryInfo", t.Context(), later.(*refusal).status.Err(), nil, 0, 0, uprung.Overload}, //nolint:errorlint // nothing wraps it
		{"RetryInfo is of no use with others", t.Context(), internal, said("100"), 0, 0, uprung.Failure},

		{"a refusal", t.Context(), later, nil, 0, 0, uprung.Ignored},
		{"a plain refusal", t.Context(), &uprung.Rejection{}, nil, 0, 0, uprung.Ignored},
	} {
		if got := Outcome(tt.ctx, tt.err, tt.trailer, tt.took, tt.patience); got != tt.want {
			t.Errorf("%s: a %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	reason := errors.New("limit: limited")
	r := &uprung.Rejection{Kind: uprung.KindRateLimit, Name: "a", Reason: reason, RetryAfter: 1500 * time.Millisecond}
	err := Refuse(codes.ResourceExhausted, r)
	if got, _ := errors.AsType[*uprung.Rejection](err); got != r || !errors.Is(err, reason) {
		t.Errorf("%v matches neither the rejection nor its reason", err)
	}
	if want := `rpc error: code = ResourceExhausted desc = limit: limited (policy "a"), retry after 1.5s`; err.Error() != want {
		t.Errorf("text is %q, want %q", err, want)
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("code is %v, want RESOURCE_EXHAUSTED", status.Code(err))
	}
	for _, after := range []time.Duration{0, uprung.Never} {
		if got, asked := RetryAfter(Refuse(codes.Unavailable, &uprung.Rejection{RetryAfter: after}), nil); asked {
			t.Errorf("with RetryAfter %v, clients are asked to wait %v", after, got)
		}
	}
}
