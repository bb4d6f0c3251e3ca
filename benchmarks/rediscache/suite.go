package rediscache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/cache/rediscache"
	"github.com/uprung/uprung/internal/testserver"
)

const (
	callers   = 64
	keys      = 10_000
	valueSize = 256

	goRedis = "go-redis-pool64"
)

// Suite returns the suite.
func Suite() *bench.Suite {
	return &bench.Suite{
		Name: "rediscache",
		Workload: fmt.Sprintf(`%d callers get values of %d bytes by keys of %d at random, one after the other, of a Redis or Valkey that the suite starts on loopback, on the same processors, and every value is checked
uprung is a Store with default settings but for a timeout of 3s, that of reads in go-redis: its reads are remembered by the server, and have the TTL of the value with them, for which go-redis would have to ask; rueidis is the client that it is built on, alone, with default settings
%s is go-redis with a pool of %d connections
cpu_ns is that of this process, without the server`, callers, valueSize, keys, goRedis, callers),
		Contests: []bench.Runnable{contest()},
		Targets: []bench.Target{
			{Case: "get/callers=64", Metric: "ops_per_s", Peer: goRedis, Bound: bench.AtLeast(1.7)},
			{Case: "get/callers=64", Metric: "cpu_ns", Peer: goRedis, Bound: bench.AtMost(0.6)},
		},
	}
}

// subject gets values, from a server of its own.
type subject struct {
	get   func(ctx context.Context, key string) ([]byte, error)
	close []func()
}

// Close ends the client and then the server.
func (s *subject) Close() {
	for i := len(s.close) - 1; i >= 0; i-- {
		s.close[i]()
	}
}

func contest() *bench.Contest[*subject] {
	names := make([]string, keys)
	for i := range names {
		names[i] = "value-" + strconv.Itoa(i)
	}
	value := value()
	open := func(use func(s *subject, addr string) (set func(ctx context.Context, key string) error, err error)) func(*bench.Env) (*subject, error) {
		return func(e *bench.Env) (*subject, error) {
			addr, stop, err := serve()
			if err != nil {
				return nil, err
			}
			s := &subject{close: []func(){stop}}
			set, err := use(s, addr)
			for _, name := range names {
				if err == nil {
					err = set(context.Background(), name)
				}
			}
			if err != nil {
				s.Close()
				return nil, err
			}
			return s, nil
		}
	}
	const ttl = time.Hour
	return &bench.Contest[*subject]{
		Impls: []bench.Impl[*subject]{
			{Name: bench.Ours, Open: open(func(s *subject, addr string) (func(context.Context, string) error, error) {
				store, err := rediscache.New(rueidis.ClientOption{InitAddress: []string{addr}}, &rediscache.Options{Timeout: 3 * time.Second})
				if err != nil {
					return nil, err
				}
				s.close = append(s.close, func() { _ = store.Close() })
				s.get = func(ctx context.Context, key string) ([]byte, error) {
					item, err := store.Get(ctx, key)
					if err == nil && item.TTL <= 0 {
						err = errors.New("the TTL is missing")
					}
					return item.Value, err
				}
				return func(ctx context.Context, key string) error { return store.Set(ctx, key, value, ttl) }, nil
			})},
			{Name: goRedis, Open: open(func(s *subject, addr string) (func(context.Context, string) error, error) {
				client := redis.NewClient(&redis.Options{Addr: addr, PoolSize: callers})
				s.close = append(s.close, func() { _ = client.Close() })
				s.get = func(ctx context.Context, key string) ([]byte, error) { return client.Get(ctx, key).Bytes() }
				return func(ctx context.Context, key string) error { return client.Set(ctx, key, value, ttl).Err() }, nil
			})},
			{Name: "rueidis", Open: open(func(s *subject, addr string) (func(context.Context, string) error, error) {
				client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}})
				if err != nil {
					return nil, err
				}
				s.close = append(s.close, client.Close)
				s.get = func(ctx context.Context, key string) ([]byte, error) {
					return client.Do(ctx, client.B().Get().Key(key).Build()).AsBytes()
				}
				return func(ctx context.Context, key string) error {
					return client.Do(ctx, client.B().Set().Key(key).Value(string(value)).Ex(ttl).Build()).Error()
				}, nil
			})},
		},
		Cases: []bench.Case[*subject]{{
			Name:  "get/callers=64",
			Procs: 2,
			Ratio: "ops_per_s",
			Begin: func(*bench.Env) func(*subject, *bench.Round) (bench.Figures, error) {
				return func(s *subject, r *bench.Round) (bench.Figures, error) { return measure(s, r, names, value) }
			},
		}},
	}
}

func value() []byte { return bytes.Repeat([]byte("v"), valueSize) }

// measure has the callers get values for a round.
func measure(s *subject, r *bench.Round, names []string, value []byte) (bench.Figures, error) {
	ctx := context.Background()
	if _, err := s.get(ctx, names[0]); err != nil { // connects
		return nil, err
	}
	var gets atomic.Int64
	var failure atomic.Pointer[error]
	var all sync.WaitGroup
	cpu, start := bench.CPUTime(), time.Now()
	for caller := range callers {
		all.Go(func() {
			mine := 0
			for at := uint64(caller) + r.Seed; mine == 0 || time.Since(start) < r.Duration; mine++ {
				at = at*6364136223846793005 + 1442695040888963407 // Knuth, MMIX
				got, err := s.get(ctx, names[at>>33%uint64(len(names))])
				if err == nil && !bytes.Equal(got, value) {
					err = fmt.Errorf("value is %q", got)
				}
				if err != nil {
					failure.Store(&err)
					return
				}
			}
			gets.Add(int64(mine))
		})
	}
	all.Wait()
	took, cpu := time.Since(start), bench.CPUTime()-cpu
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	n := float64(gets.Load())
	return bench.Figures{"ops_per_s": n / took.Seconds(), "cpu_ns": float64(cpu) / n}, nil
}

// serve starts a server, and returns its address and what ends it.
func serve() (addr string, stop func(), err error) {
	addrs, ended, end := make(chan string, 1), make(chan error, 1), make(chan struct{})
	go func() {
		ended <- testserver.Run(func(tb testserver.TB) {
			addrs <- testserver.Redis(tb).Addr()
			<-end
		})
	}()
	select {
	case addr := <-addrs:
		return addr, func() { close(end); <-ended }, nil
	case err := <-ended:
		return "", nil, err
	}
}
