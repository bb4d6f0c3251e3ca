package breaker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/afex/hystrix-go/hystrix"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/go-kratos/aegis/circuitbreaker/sre"
	"github.com/sony/gobreaker/v2"
	"github.com/uprung/uprung"
	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/breaker"
	gozero "github.com/zeromicro/go-zero/core/breaker"
)

const (
	peerGobreaker = "gobreaker"
	peerFailsafe  = "failsafe-go"
)

// guard calls a function of the key, if it may, and reports whether it did. All
// implementations are called through a func value of this kind.
type guard func(key string) bool

// entrant is an implementation and how it is set up.
type entrant struct {
	name string
	open func(keys int) (guard, error)
}

// work is what is guarded: it does nothing.
func work(context.Context) (int, error) { return 1, nil }

var errWork = errors.New("it fails")

// closed are those that let every call through.
func closed(o breaker.Options) []entrant {
	return []entrant{
		{bench.Ours, func(int) (guard, error) { return newDo(o) }},
		{bench.Ours + "-permit", func(int) (guard, error) { return newPermit(o) }},
		{peerGobreaker, func(int) (guard, error) {
			cb := newGobreaker()
			return func(string) bool { return executed(cb) }, nil
		}},
		{peerFailsafe, func(int) (guard, error) {
			executor := failsafe.With(newFailsafe[int]())
			return func(string) bool {
				_, err := executor.Get(func() (int, error) { return 1, nil })
				return err == nil
			}, nil
		}},
		{"go-zero", func(int) (guard, error) {
			b := gozero.NewBreaker()
			return func(string) bool { return b.Do(func() error { return nil }) == nil }, nil
		}},
		{"aegis", func(int) (guard, error) {
			b := sre.NewBreaker()
			return func(string) bool {
				if b.Allow() != nil {
					return false
				}
				b.MarkSuccess()
				return true
			}, nil
		}},
		{"hystrix-go", func(int) (guard, error) {
			const name = "benchmark"
			// A ticket is given back after the call has returned, and the default of ten is
			// soon used up.
			hystrix.ConfigureCommand(name, hystrix.CommandConfig{MaxConcurrentRequests: 100_000, Timeout: 60_000})
			return func(string) bool { return hystrix.Do(name, func() error { return nil }, nil) == nil }, nil
		}},
	}
}

func newDo(o breaker.Options) (guard, error) {
	b, err := breaker.New(&o)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	return func(string) bool {
		_, err := breaker.Do(ctx, b, work)
		return err == nil
	}, nil
}

func newPermit(o breaker.Options) (guard, error) {
	b, err := breaker.New(&o)
	if err != nil {
		return nil, err
	}
	return func(string) bool {
		p, err := b.Allow()
		if err != nil {
			return false
		}
		p.Done(uprung.Success)
		return true
	}, nil
}

// newGobreaker has the window of ours; how it is filled costs it nothing more.
func newGobreaker() *gobreaker.CircuitBreaker[int] {
	return gobreaker.NewCircuitBreaker[int](gobreaker.Settings{Interval: 10 * time.Second, Timeout: time.Hour})
}

func executed(cb *gobreaker.CircuitBreaker[int]) bool {
	_, err := cb.Execute(func() (int, error) { return 1, nil })
	return err == nil
}

// newFailsafe has the settings of ours.
func newFailsafe[R any]() circuitbreaker.CircuitBreaker[R] {
	return circuitbreaker.NewBuilder[R]().WithFailureRateThreshold(0.5, 20, 10*time.Second).WithDelay(time.Hour).Build()
}

// refusing are those that refuse every call, and have been opened by failures.
func refusing() []entrant {
	return []entrant{
		{bench.Ours, func(int) (guard, error) {
			b, err := failed()
			if err != nil {
				return nil, err
			}
			return func(string) bool {
				_, err := breaker.Do(context.Background(), b, work)
				return err != nil
			}, nil
		}},
		{bench.Ours + "-permit", func(int) (guard, error) {
			b, err := failed()
			if err != nil {
				return nil, err
			}
			return func(string) bool {
				_, err := b.Allow()
				return err != nil
			}, nil
		}},
		{peerGobreaker, func(int) (guard, error) {
			cb := newGobreaker()
			for range 6 {
				_, _ = cb.Execute(func() (int, error) { return 0, errWork })
			}
			return func(string) bool { return !executed(cb) }, nil
		}},
		{peerFailsafe, func(int) (guard, error) {
			cb := newFailsafe[int]()
			cb.Open()
			executor := failsafe.With(cb)
			return func(string) bool {
				_, err := executor.Get(func() (int, error) { return 1, nil })
				return err != nil
			}, nil
		}},
	}
}

// failed returns a breaker that failures have opened, for an hour.
func failed() (*breaker.Breaker, error) {
	b, err := breaker.New(&breaker.Options{OpenFor: time.Hour, Jitter: -1})
	if err != nil {
		return nil, err
	}
	for range 20 {
		_, _ = breaker.Do(context.Background(), b, func(context.Context) (int, error) { return 0, errWork })
	}
	if b.State() != breaker.Open {
		return nil, errors.New("it is not open")
	}
	return b, nil
}

// keyed are those that have a breaker for each key.
func keyed() []entrant {
	return []entrant{
		{bench.Ours, func(keys int) (guard, error) {
			g, err := breaker.NewGroup(&breaker.GroupOptions[string]{Capacity: keys})
			if err != nil {
				return nil, err
			}
			ctx := context.Background()
			return func(key string) bool {
				_, err := breaker.Do(ctx, g.Breaker(key), work)
				return err == nil
			}, nil
		}},
		{peerGobreaker, func(int) (guard, error) {
			var all sync.Map
			return func(key string) bool {
				cb, ok := all.Load(key)
				if !ok {
					cb, _ = all.LoadOrStore(key, newGobreaker())
				}
				return executed(cb.(*gobreaker.CircuitBreaker[int]))
			}, nil
		}},
	}
}

// subject is an implementation in a contest, with the keys that it knows.
type subject struct {
	call  guard
	keys  []string
	bytes float64 // for each key
}

// contest is one of calls, in a case for each number of processors.
func contest(entrants []entrant, name string, keys int, procs ...int) *bench.Contest[*subject] {
	c := &bench.Contest[*subject]{}
	for _, one := range entrants {
		c.Impls = append(c.Impls, bench.Impl[*subject]{Name: one.name, Open: func(e *bench.Env) (*subject, error) {
			return setUp(one, e.Size(keys))
		}})
	}
	for _, n := range procs {
		called := name
		if keys == 1 {
			called = fmt.Sprintf("%s/cpus=%d", name, n)
		}
		c.Cases = append(c.Cases, bench.Case[*subject]{
			Name: called, Procs: n, Ratio: "cpu_ns",
			Begin: func(*bench.Env) func(*subject, *bench.Round) (bench.Figures, error) { return measure },
		})
	}
	return c
}

// setUp makes an implementation, and has it see every key once.
func setUp(one entrant, keys int) (*subject, error) {
	s := &subject{keys: make([]string, keys)}
	for i := range s.keys {
		s.keys[i] = fmt.Sprintf("host-%05d.example.com:443", i)
	}
	before := heap()
	var err error
	if s.call, err = one.open(keys); err != nil {
		return nil, err
	}
	for _, key := range s.keys {
		if !s.call(key) {
			return nil, fmt.Errorf("the first call of %q did not turn out as expected", key)
		}
	}
	s.bytes = (heap() - before) / float64(keys)
	return s, nil
}

// heap returns the bytes that are in use once all garbage is gone.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// measure makes calls for one round, keys in an order that has nothing to do with the
// one in which they came.
func measure(s *subject, r *bench.Round) (bench.Figures, error) {
	const stride = 7919 // a prime
	f, err := r.Loop(func(worker, from, n int) (met int) {
		for i := range n {
			if s.call(s.keys[(worker+from+i)*stride%len(s.keys)]) {
				met++
			}
		}
		return met
	})
	if err == nil && len(s.keys) > 1 {
		f["bytes_per_key"] = s.bytes
	}
	return f, err
}
