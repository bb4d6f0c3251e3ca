package redisx

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/breaker"
)

var (
	// ErrDown is the error of a call that was not made: calls fail, and a probe has to
	// succeed first.
	ErrDown = errors.New("redisx: down")
	// ErrBusy is the error of a call that was not made, because so many others have no
	// answer yet.
	ErrBusy = errors.New("redisx: too many calls in flight")
	// ErrClosed is the error of every call after Close.
	ErrClosed = errors.New("redisx: closed")
)

const (
	// DefaultTimeout is that of a call.
	DefaultTimeout = 50 * time.Millisecond

	failures    = 3 // in a row open a breaker
	openFor     = 100 * time.Millisecond
	openMax     = 500 * time.Millisecond
	probePeriod = time.Second // that a probe may take, at the least: it may have to connect

	partitions = 16   // of the slots of a cluster
	maxFlying  = 2048 // calls without an answer, fewer than the queues of a client hold
)

// GateOptions are the settings of a [Gate].
type GateOptions struct {
	// Name is that of the breaker in figures and logs. Empty means "default".
	Name string
	// Timeout is how long a call may take. Zero means [DefaultTimeout].
	Timeout time.Duration
	// Detached calls run on a goroutine of their own, which is left behind when the
	// timeout has passed. It is for calls that may not heed their context.
	Detached bool
	// Logger is told of changes of state. Nil is silent.
	Logger *slog.Logger
}

// Gate keeps calls to something remote short, and from being made when it is down. It
// is safe for concurrent use.
type Gate struct {
	timeout  time.Duration
	detached atomic.Bool
	split    atomic.Bool // whether each partition has a breaker of its own
	breakers [partitions]*breaker.Breaker
	flying   atomic.Int64
	windows  windows

	ctx    context.Context //nolint:containedctx // of what outlives calls; ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex
	closed bool           // guarded by mu
	tasks  sync.WaitGroup // added to under mu
}

// NewGate returns a gate. The error names every option that is out of range.
func NewGate(o GateOptions) (*Gate, error) {
	g := &Gate{timeout: cmp.Or(o.Timeout, DefaultTimeout)}
	g.detached.Store(o.Detached)
	g.windows.timeout = g.timeout
	if g.timeout < time.Millisecond || g.timeout > time.Minute {
		return nil, errors.New("Timeout is " + o.Timeout.String() + ", want 1ms to 1m")
	}
	for i := range g.breakers {
		var err error
		if g.breakers[i], err = breaker.New(&breaker.Options{
			Name: o.Name, Consecutive: failures, OpenFor: openFor, OpenMax: openMax, Probes: 1,
			ProbeLease: g.probeTimeout() + g.timeout, Logger: o.Logger,
		}); err != nil {
			return nil, err
		}
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g, nil
}

func (g *Gate) probeTimeout() time.Duration { return max(probePeriod, g.timeout) }

// Timeout is how long a call may take.
func (g *Gate) Timeout() time.Duration { return g.timeout }

// Split says that what is remote is a cluster, whose nodes fail one by one.
func (g *Gate) Split() {
	g.split.Store(true)
	g.detached.Store(true) // a client that looks for its nodes does not heed contexts
}

// breaker returns that of the node that has the key.
func (g *Gate) breaker(key string) *breaker.Breaker {
	if g.split.Load() {
		return g.breakers[Slot(key)/(slots/partitions)]
	}
	return g.breakers[0]
}

// Do makes a call about a key, if what it is for is not down. Every error of a call is
// a failure of the other side, unless ctx has ended, and much sooner than the timeout: then
// Do returns that. After the timeout the error is [context.DeadlineExceeded].
// The context of a call need not have the values of ctx.
//
// When it is time to find out whether it is still down, probe is called instead, behind
// the caller's back, and Do returns [ErrDown] all the same. It must change nothing.
func (g *Gate) Do(ctx context.Context, key string, call, probe func(context.Context) error) error {
	return g.DoWithin(ctx, g.timeout, key, call, probe)
}

// DoWithin is [Gate.Do] with another timeout, such as what is left of one.
func (g *Gate) DoWithin(ctx context.Context, timeout time.Duration, key string, call, probe func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b := g.breaker(key)
	probing := b.State() != breaker.Closed
	permit, err := b.Allow()
	if err != nil {
		return ErrDown
	}
	if probing {
		g.probe(permit, probe)
		return ErrDown
	}
	if g.flying.Add(1) > maxFlying {
		g.flying.Add(-1)
		permit.Done(uprung.Overload)
		return ErrBusy
	}
	start := time.Now()
	bounded, cancel := g.bound(ctx, start, timeout)
	defer cancel()
	if g.detached.Load() {
		err = g.detach(bounded, call)
	} else {
		err = call(bounded)
		g.flying.Add(-1)
	}
	switch {
	case err == nil:
		permit.Done(uprung.Success)
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && time.Since(start) >= timeout*3/4:
		permit.Done(uprung.Failure) // that of the caller is about as long as ours
		return ctx.Err()
	case ctx.Err() != nil:
		permit.Done(uprung.Ignored)
		return ctx.Err()
	case errors.Is(err, ErrClosed):
		permit.Done(uprung.Ignored)
	default:
		permit.Done(uprung.Failure)
		if bounded.Err() != nil {
			return bounded.Err()
		}
	}
	return err
}

// bound returns a context that ends with ctx, or after the timeout or a little sooner.
func (g *Gate) bound(ctx context.Context, now time.Time, timeout time.Duration) (context.Context, context.CancelFunc) {
	if ctx.Done() == nil && timeout == g.timeout {
		return g.windows.context(now), func() {}
	}
	if end, ok := ctx.Deadline(); ok && end.Sub(now) <= timeout {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// detach makes a call on a goroutine of its own and waits for it as long as ctx.
func (g *Gate) detach(ctx context.Context, call func(context.Context) error) error {
	done := make(chan error, 1)
	if !g.task(func() {
		defer g.flying.Add(-1)
		done <- call(ctx)
	}) {
		g.flying.Add(-1)
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// probe finds out whether it is still down.
func (g *Gate) probe(permit breaker.Permit, probe func(context.Context) error) {
	if !g.task(func() {
		ctx, cancel := context.WithTimeout(g.ctx, g.probeTimeout())
		defer cancel()
		if probe(ctx) == nil {
			permit.Done(uprung.Success)
		} else {
			permit.Done(uprung.Failure)
		}
	}) {
		permit.Done(uprung.Ignored)
	}
}

// task runs f on a goroutine that Close waits for. It returns false after Close.
func (g *Gate) task(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.tasks.Go(f)
	return true
}

// Close ends what is going on behind the callers' backs, and waits for its end.
func (g *Gate) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.tasks.Wait()
}

// Metrics yields the figures of the breaker. Of a cluster it is the first to be open, or
// that of the first slots.
func (g *Gate) Metrics(yield func(uprung.Metric) bool) {
	b := g.breakers[0]
	for _, other := range g.breakers {
		if g.split.Load() && other.State() != breaker.Closed {
			b = other
			break
		}
	}
	b.Metrics(yield)
}
