package redislimit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/internal/redisx"
)

// DefaultPrefix is what keys in Redis begin with by default.
const DefaultPrefix = "ratelimit:"

// StoreOptions are the settings of a [Store]. The zero value of each field is its
// default.
type StoreOptions struct {
	// Name tells stores apart in figures and logs: 1 to 64 printable ASCII characters.
	// Zero means "ratelimit-redis".
	Name string

	// Prefix is what the keys in Redis begin with: at most 64 bytes without braces.
	// Programs that share limits share it. Zero means [DefaultPrefix].
	Prefix string

	// Timeout is how long a decision may wait for Redis, 1ms to 1m. It has to suffice for
	// connecting again. Zero means 50ms.
	Timeout time.Duration

	// Logger is told, at Info, when Redis goes away and when it is back. Nil is silent.
	Logger *slog.Logger
}

// Runner runs [Script] by a client of one's own: EVALSHA and, where Redis does not know
// the script, EVAL. It must not repeat a call that may have been executed. With go-redis:
//
//	script := redis.NewScript(redislimit.Script)
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379", MaxRetries: -1})
//	runner := redislimit.RunnerFunc(func(ctx context.Context, keys []string, args ...any) ([]int64, error) {
//		return script.Run(ctx, client, keys, args...).Int64Slice()
//	})
type Runner interface {
	// Run calls the script with keys, which are in one slot of a cluster, and arguments,
	// which are strings, and returns its reply. It is called concurrently.
	Run(ctx context.Context, keys []string, args ...any) ([]int64, error)
}

// RunnerFunc is a function that is a [Runner].
type RunnerFunc func(ctx context.Context, keys []string, args ...any) ([]int64, error)

// Run calls f.
func (f RunnerFunc) Run(ctx context.Context, keys []string, args ...any) ([]int64, error) {
	return f(ctx, keys, args...)
}

// Store is where limits are kept: a Redis or Valkey server, or a cluster of them. Several
// limiters share one. It connects when it is first asked. It is safe for concurrent use.
// Use NewStore or NewRunnerStore.
type Store struct {
	prefix  string
	timeout time.Duration
	client  *redisx.Client // or
	gate    *redisx.Gate   // of runner
	runner  Runner
}

// NewStore returns a store on a Redis, Valkey or Redis Cluster, of which
// redis.InitAddress says where it is. It does no I/O, and a program starts while Redis is
// down. Commands are not retried, and nothing is cached on the side of the client, whatever
// redis says. A zero PipelineMultiplex means one connection to each server, and a zero
// MaxFlushDelay 20us, which concurrent decisions wait to be sent together; negative means
// none. Nil options are the defaults. The error names every field that is out of range.
func NewStore(redis rueidis.ClientOption, o *StoreOptions) (*Store, error) {
	s, completed, err := newStore(o)
	redis.DisableCache = true // its only use is reading
	redis.PipelineMultiplex = cmp.Or(redis.PipelineMultiplex, oneConnection)
	redis.RingScaleEachConn = cmp.Or(redis.RingScaleEachConn, ringScale)
	redis.MaxFlushDelay = cmp.Or(redis.MaxFlushDelay, flushDelay)
	var err2 error
	s.client, err2 = redisx.New(redisx.Options{Name: completed.Name, Redis: redis, Timeout: completed.Timeout, Logger: completed.Logger})
	if err = errors.Join(err, err2); err != nil {
		return nil, prefixed(err)
	}
	return s, nil
}

// NewRunnerStore returns a store that uses a client of one's own. Each call of the runner
// has a goroutine, so that nobody waits longer than Timeout, however long it takes.
func NewRunnerStore(runner Runner, o *StoreOptions) (*Store, error) {
	s, completed, err := newStore(o)
	if runner == nil {
		err = errors.Join(err, errors.New("Runner is nil"))
	}
	var err2 error
	s.runner = runner
	s.gate, err2 = redisx.NewGate(redisx.GateOptions{Name: completed.Name, Timeout: completed.Timeout, Detached: true, Logger: completed.Logger})
	if err = errors.Join(err, err2); err != nil {
		return nil, prefixed(err)
	}
	return s, nil
}

// Redis runs one script at a time, and what it costs beside that is reading and writing:
// the more of them come together, the less. One connection and a short wait take a fifth
// off the time of a decision on both sides.
const (
	oneConnection = -1
	ringScale     = 12 // 4096 places, more than there are calls in flight
	flushDelay    = 20 * time.Microsecond
)

func newStore(o *StoreOptions) (*Store, StoreOptions, error) {
	completed := StoreOptions{}
	if o != nil {
		completed = *o
	}
	completed.Name = cmp.Or(completed.Name, "ratelimit-redis")
	completed.Prefix = cmp.Or(completed.Prefix, DefaultPrefix)
	completed.Timeout = cmp.Or(completed.Timeout, redisx.DefaultTimeout)
	s := &Store{prefix: completed.Prefix, timeout: completed.Timeout}
	return s, completed, errors.Join(option.CheckName("Name", completed.Name), checkPrefix(completed.Prefix))
}

func prefixed(err error) error {
	return fmt.Errorf("redislimit: %w", err)
}

// run calls the script within a timeout, once. That ctx is cancelled is noticed when the
// call has ended, which is soon, so that calls need no timer of their own.
func (s *Store) run(ctx context.Context, timeout time.Duration, keys, args []string) ([]int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bounded := ctx
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > timeout {
		bounded = context.Background()
	}
	var reply []int64 // may be written when nobody reads it any more
	var err error
	if s.client != nil {
		err = s.client.DoWithin(bounded, timeout, keys[0], func(ctx context.Context, c rueidis.Client) (err error) {
			reply, err = eval(ctx, c, keys, args)
			return err
		})
	} else {
		err = s.gate.DoWithin(bounded, timeout, keys[0], func(ctx context.Context) (err error) {
			converted := make([]any, len(args))
			for i, arg := range args {
				converted[i] = arg
			}
			reply, err = s.runner.Run(ctx, keys, converted...)
			return err
		}, func(ctx context.Context) error {
			_, err := s.runner.Run(ctx, keys[:1], opTake, "0", "0") // looks, and takes nothing
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// eval calls the script by its name and, where that is not known, by its text.
func eval(ctx context.Context, c rueidis.Client, keys, args []string) ([]int64, error) {
	result := c.Do(ctx, c.B().Evalsha().Sha1(scriptHash()).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	if reply, ok := rueidis.IsRedisErr(result.Error()); ok && reply.IsNoScript() {
		result = c.Do(ctx, c.B().Eval().Script(Script).Numkeys(int64(len(keys))).Key(keys...).Arg(args...).Build())
	}
	return result.AsIntSlice()
}

// Metrics yields the figures of the breaker before Redis. It makes a Store an
// [uprung.Source].
func (s *Store) Metrics(yield func(uprung.Metric) bool) {
	if s.client != nil {
		s.client.Metrics(yield)
		return
	}
	s.gate.Metrics(yield)
}

// Close closes the connections, unless they are a runner's, and waits until nothing is
// left of them. Limiters go on as if Redis were down. It returns nil, always.
func (s *Store) Close() error {
	if s.client != nil {
		return s.client.Close()
	}
	s.gate.Close()
	return nil
}
