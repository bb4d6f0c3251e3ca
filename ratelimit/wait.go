package ratelimit

import (
	"context"
	"time"

	"github.com/uprung/uprung"
)

// Wait takes n events for key and returns once they may be used: at once, or
// after the time that the limit imposes. Those who wait are served in the order
// in which they came, and calls that do not wait find the events taken. Under
// [SlidingWindow] there is no order: whoever asks first when there is room again
// gets it.
//
// It returns at once, without taking anything, with an [*uprung.Rejection] if
// the wait would outlast ctx's deadline (ErrLimited) or could never end
// ([ErrExceedsBurst], or ErrLimited with a RetryAfter of [uprung.Never]), or
// with the error of [Limiter.Take]. If ctx ends first, it returns ctx.Err() and,
// if nobody has queued up behind it and the limit is what it was, gives back what
// it took.
func (l *Limiter) Wait(ctx context.Context, key string, n int64) error {
	return l.wait(ctx, &call{hash: l.hash(key), key: key, n: n})
}

func (l *Limiter) wait(ctx context.Context, c *call) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.now = l.now()
		if l.load().mode.Enforces(c.key) {
			c.patience = longest
			if deadline, ok := ctx.Deadline(); ok {
				c.patience = ticksOf(time.Until(deadline))
			}
		}
		if err := l.settle(c); err != nil {
			return err
		}
		// A sliding window makes no promises: who waits for it asks again.
		again := !c.ok && c.budget.window != 0 && c.wait >= 0 && c.wait <= c.patience
		if !again {
			l.count(c)
			if !c.ok {
				return l.rejection(c)
			}
		}
		if c.wait == 0 {
			return nil
		}
		if err := sleep(ctx, nanos(c.wait)); err != nil {
			l.cancel(c)
			return err
		}
		if !again {
			return nil
		}
	}
}

// cancel undoes what c was promised, if nobody has queued up behind it. Who came
// later keeps the instant that it was promised, and to give back part of the
// charge, from the end of the line, would have others served beside it: intervals
// then exceed the burst.
func (l *Limiter) cancel(c *call) {
	if !c.ok {
		return
	}
	mine, now := c.now+c.debt+c.charge, l.now()
	l.amendUnderSameLimit(c, func(state int64) int64 {
		if state > mine {
			return state
		}
		return max(state-c.charge, min(state, now))
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// longest is the patience of who has no deadline: three years, which no debt adds
// to so much that sums overflow.
const longest = 1 << 60

// ticksOf converts a time to wait to ticks, from 0 to longest.
func ticksOf(d time.Duration) int64 {
	return int64(min(max(d, 0), longest/ticksPerNano)) * ticksPerNano
}

// rejection is the error of a call that is not ok.
func (l *Limiter) rejection(c *call) *uprung.Rejection {
	rejection := &uprung.Rejection{Kind: uprung.KindRateLimit, Name: l.name, Reason: ErrLimited}
	switch {
	case c.wait >= 0:
		rejection.RetryAfter = nanos(c.wait)
	case c.exceedsBurst():
		rejection.Reason = ErrExceedsBurst
		fallthrough
	default:
		rejection.RetryAfter = uprung.Never
	}
	return rejection
}
