package retry

import (
	"context"
	"time"

	"github.com/uprung/uprung"
)

// Loop is the attempts of one request, for protocols that this package does not know.
// It is made by [Retrier.Begin], for one goroutine:
//
//	loop := retrier.Begin("orders")
//	err := call(ctx)
//	for failed(err) && loop.Again(ctx, 0) {
//		err = call(ctx)
//	}
type Loop struct {
	r       *Retrier
	key     string
	attempt int // the last one, from 1
	moves   int
}

// Begin counts a request, which brings to the budget what a request does, and begins
// its first attempt. The key is what mode [uprung.Percent] goes by.
func (r *Retrier) Begin(key string) Loop {
	r.count.requests.Add(1)
	r.budget.request()
	return Loop{r: r, key: key, attempt: 1}
}

// Again decides whether an attempt that failed is repeated, takes that out of the
// budget, and waits, for the time that the server has asked for at least; zero is none.
// It returns false if it is not repeated: for want of attempts, budget or time, because
// the mode does not enforce, because the [Origin] of ctx is an attempt itself, or because
// ctx has ended.
func (l *Loop) Again(ctx context.Context, asked time.Duration) bool {
	pause, ok := l.again(ctx, asked)
	return ok && sleep(ctx, pause) == nil
}

// Move decides whether an attempt that no server has seen is repeated, and waits.
// Nothing is taken out of the budget, as no server has any work with it. If there is an
// endpoint left that was not tried, there is no wait and any number of attempts.
func (l *Loop) Move(ctx context.Context, untried bool) bool {
	pause, ok := l.move(ctx, untried)
	return ok && sleep(ctx, pause) == nil
}

// Stop counts a failed request that is not repeated because that may do harm.
func (l *Loop) Stop() { l.r.count.notRepeatable.Add(1) }

// AttemptContext returns a context for one attempt, which ends with
// [uprung.ErrAttemptTimeout] after Options.AttemptTimeout. The function frees what it
// holds and must be called.
func (r *Retrier) AttemptContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if r.o.AttemptTimeout == 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, r.o.AttemptTimeout, uprung.ErrAttemptTimeout)
}

// again is Again without the wait.
func (l *Loop) again(ctx context.Context, asked time.Duration) (pause time.Duration, ok bool) {
	r := l.r
	pause, ok = l.pause(ctx, asked)
	if !ok {
		return 0, false
	}
	if !r.budget.take(r.now()) {
		r.count.unbudgeted.Add(1)
		l.spend(ctx)
		return 0, false
	}
	if !l.enforces() {
		return 0, false
	}
	l.attempt++
	r.count.retries.Add(1)
	return pause, true
}

// move is Move without the wait.
func (l *Loop) move(ctx context.Context, untried bool) (pause time.Duration, ok bool) {
	if untried = untried && l.moves < maxMoves; !untried {
		if pause, ok = l.pause(ctx, 0); !ok {
			return 0, false
		}
	}
	if !l.enforces() {
		return 0, false
	}
	if untried {
		l.moves++
	} else {
		l.attempt++
	}
	l.r.count.moves.Add(1)
	return pause, true
}

// pause returns the time before the next attempt, if there is one and there is time.
func (l *Loop) pause(ctx context.Context, asked time.Duration) (pause time.Duration, ok bool) {
	r := l.r
	if OriginOf(ctx).Attempt() > 0 {
		return 0, false // it is an attempt already
	}
	if l.attempt >= r.o.Attempts {
		r.count.exhausted.Add(1)
		if l.attempt > 1 {
			l.spend(ctx)
		}
		return 0, false
	}
	pause = max(backoff(l.attempt, r.o.Backoff, r.o.MaxBackoff, r.random()), asked)
	deadline, has := ctx.Deadline()
	if asked > r.o.MaxWait || asked < 0 || has && time.Until(deadline) <= pause {
		r.count.tooLate.Add(1)
		return 0, false
	}
	return pause, true
}

// spend tells who asked for it that trying again is of no use. A mode that does not enforce
// tells nobody anything.
func (l *Loop) spend(ctx context.Context) {
	if l.r.Mode().Enforces(l.key) {
		OriginOf(ctx).Spend()
	}
}

// enforces reports whether what is decided is done, and counts if it is not.
func (l *Loop) enforces() bool {
	if l.r.Mode().Enforces(l.key) {
		return true
	}
	l.r.count.shadowed.Add(1)
	return false
}
