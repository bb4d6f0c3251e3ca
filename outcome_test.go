package uprung_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

func TestOutcomeOfError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		alive := t.Context()
		cancelled, cancel := context.WithCancel(alive)
		cancel()
		expired, cancel := context.WithTimeout(alive, time.Millisecond)
		defer cancel()
		<-expired.Done()
		timedOut, timeOut := context.WithCancelCause(alive)
		timeOut(uprung.ErrAttemptTimeout)
		broken := errors.New("connection reset")
		refused := fmt.Errorf("inner: %w", &uprung.Rejection{Reason: errors.New("full")})
		for _, tt := range []struct {
			ctx      context.Context //nolint:containedctx // a row of a table
			err      error
			took     time.Duration
			patience time.Duration
			want     uprung.Outcome
		}{
			{alive, nil, 0, 0, uprung.Success},
			{alive, broken, 0, 0, uprung.Failure},
			{alive, io.ErrUnexpectedEOF, 0, 0, uprung.Failure},
			{alive, refused, 0, 0, uprung.Ignored},
			// A timeout of the transport's own, such as of a dial.
			{alive, context.DeadlineExceeded, time.Millisecond, 0, uprung.Failure},
			{alive, context.Canceled, time.Hour, 0, uprung.Ignored},
			{cancelled, broken, time.Hour, 0, uprung.Ignored},
			{cancelled, context.Canceled, time.Hour, 0, uprung.Ignored},
			{expired, context.DeadlineExceeded, 999 * time.Millisecond, 0, uprung.Ignored},
			{expired, context.DeadlineExceeded, time.Second, 0, uprung.Failure},
			{expired, broken, 999 * time.Millisecond, 0, uprung.Ignored},
			{timedOut, context.Canceled, time.Millisecond, 0, uprung.Failure},
			{timedOut, refused, time.Millisecond, 0, uprung.Ignored},
			{expired, context.DeadlineExceeded, 200 * time.Millisecond, 200 * time.Millisecond, uprung.Failure},
		} {
			if got := uprung.ErrorOutcome(tt.ctx, tt.err, tt.took, tt.patience); got != tt.want {
				t.Errorf("ErrorOutcome(%v, %v, %v, %v) = %v, want %v", tt.ctx.Err(), tt.err, tt.took, tt.patience, got, tt.want)
			}
		}
	})
}

func TestAttempt(t *testing.T) {
	t.Parallel()
	if got := uprung.AttemptOf(t.Context()); got != nil {
		t.Errorf("AttemptOf an empty context = %v, want nil", got)
	}
	attempt := new(uprung.Attempt)
	ctx := uprung.WithAttempt(t.Context(), attempt)
	uprung.AttemptOf(ctx).Try("a")
	attempt.Try("b")
	if got := fmt.Sprint(attempt.Tried(), attempt.Number()); got != "[a b] 2" {
		t.Errorf("tried %v, want [a b] 2", got)
	}
}
