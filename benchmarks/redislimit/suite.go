package redislimit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"
	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/internal/testserver"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

// patient has decisions wait for as long as redis_rate's do by default.
var patient = &redislimit.StoreOptions{Timeout: 3 * time.Second}

const (
	callers = 64
	lease   = 1000

	leased    = bench.Ours + "-lease"
	redisRate = "redis_rate"
)

// Suite returns the suite.
func Suite() *bench.Suite {
	return &bench.Suite{
		Name: "redislimit",
		Workload: fmt.Sprintf(`%d callers ask for one event each, one decision after the other, of a Redis or Valkey that the suite starts on loopback, on the same processors
decide/keys=10k: a key of 10000 at random, whose limit of 1000 per second grants everything
decide/keys=1/lease: one key, whose limit of 10M per second grants everything; uprung-lease buys up to %d events ahead
decide/keys=1/denied: one key, whose limit of 10 per second denies nearly everything
uprung has default settings but for a timeout of 3s, that of reads in go-redis, and so have redis_rate and its client go-redis; uprung-runner is ours with go-redis as the client
cpu_ns is that of a decision, in the process and the server together
an error is no decision, and ends the suite; so does an answer that is not the case's`, callers, lease),
		Contests: []bench.Runnable{
			contest("decide/keys=10k", ratelimit.PerSecond(1000), 10_000, false),
			contest("decide/keys=1/lease", ratelimit.PerSecond(10_000_000), 1, false),
			contest("decide/keys=1/denied", ratelimit.PerSecond(10), 1, true),
		},
		Targets: []bench.Target{
			{Case: "decide/keys=10k", Metric: "ops_per_s", Peer: redisRate, Bound: bench.AtLeast(2.5)},
			{Case: "decide/keys=1/lease", Metric: "ops_per_s", Impl: leased, Peer: redisRate, Bound: bench.AtLeast(20)},
			{Case: "decide/keys=1/denied", Metric: "ops_per_s", Peer: redisRate, Bound: bench.AtLeast(100)},
		},
	}
}

// subject decides about keys, with a server of its own.
type subject struct {
	allow  func(ctx context.Context, key string) (bool, error)
	server *testserver.RedisServer
	close  []func()
}

// Close ends the clients and then the server.
func (s *subject) Close() {
	for _, end := range s.close {
		end()
	}
}

// contest is one case.
func contest(name string, limit ratelimit.Limit, keys int, denied bool) *bench.Contest[*subject] {
	open := func(use func(s *subject, addr string) error) func(*bench.Env) (*subject, error) {
		return func(*bench.Env) (*subject, error) {
			server, stop, err := serve()
			if err != nil {
				return nil, err
			}
			s := &subject{server: server}
			err = use(s, server.Addr())
			s.close = append(s.close, stop)
			if err != nil {
				s.Close()
				return nil, err
			}
			return s, nil
		}
	}
	ours := func(o redislimit.Options) func(*bench.Env) (*subject, error) {
		return open(func(s *subject, addr string) error {
			store, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{addr}}, patient)
			if err != nil {
				return err
			}
			return s.useStore(store, limit, o)
		})
	}
	return &bench.Contest[*subject]{
		Impls: []bench.Impl[*subject]{
			{Name: bench.Ours, Open: ours(redislimit.Options{})},
			{Name: leased, Open: ours(redislimit.Options{Lease: lease})},
			{Name: bench.Ours + "-runner", Open: open(func(s *subject, addr string) error {
				client := redis.NewClient(&redis.Options{Addr: addr})
				s.close = append(s.close, func() { _ = client.Close() })
				script := redis.NewScript(redislimit.Script)
				store, err := redislimit.NewRunnerStore(redislimit.RunnerFunc(
					func(ctx context.Context, keys []string, args ...any) ([]int64, error) {
						return script.Run(ctx, client, keys, args...).Int64Slice()
					}), patient)
				if err != nil {
					return err
				}
				return s.useStore(store, limit, redislimit.Options{})
			})},
			{Name: redisRate, Open: open(func(s *subject, addr string) error {
				client := redis.NewClient(&redis.Options{Addr: addr})
				s.close = append(s.close, func() { _ = client.Close() })
				limiter := redis_rate.NewLimiter(client)
				one := redis_rate.Limit{Rate: int(limit.Events), Burst: int(limit.Events), Period: limit.Period}
				s.allow = func(ctx context.Context, key string) (bool, error) {
					res, err := limiter.Allow(ctx, key, one)
					if err != nil {
						return false, err
					}
					return res.Allowed > 0, nil
				}
				return nil
			})},
		},
		Cases: []bench.Case[*subject]{{
			Name:  name,
			Procs: 2,
			Heavy: true,
			Ratio: "ops_per_s",
			Begin: func(*bench.Env) func(*subject, *bench.Round) (bench.Figures, error) {
				names := make([]string, keys)
				for i := range names {
					names[i] = "client-" + strconv.Itoa(i)
				}
				return func(s *subject, r *bench.Round) (bench.Figures, error) { return measure(s, r, names, denied) }
			},
		}},
	}
}

// useStore has the subject decide by our limiter.
func (s *subject) useStore(store *redislimit.Store, limit ratelimit.Limit, o redislimit.Options) error {
	s.close = append([]func(){func() { _ = store.Close() }}, s.close...)
	o.Down = redislimit.Closed // a decision without Redis is an error here
	limiter, err := redislimit.New(limit, store, &o)
	s.allow = func(ctx context.Context, key string) (bool, error) {
		res, err := limiter.Take(ctx, key, 1)
		return res.Allowed, err
	}
	return err
}

// measure has the callers decide for a round.
func measure(s *subject, r *bench.Round, keys []string, denied bool) (bench.Figures, error) {
	ctx, cancel := context.WithCancel(context.Background()) // as that of a request
	defer cancel()
	if _, err := s.allow(ctx, keys[0]); err != nil { // connects
		return nil, err
	}
	duration := r.Duration
	if r.Shrink <= 1 && !r.Quick {
		duration = max(duration, 500*time.Millisecond) // batches and leases take a while to grow
	}
	var decisions, granted atomic.Int64
	var failure atomic.Pointer[error]
	var all sync.WaitGroup
	before, err := s.cpuTime(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	for caller := range callers {
		all.Go(func() {
			mine, got := 0, 0
			// The clock is not looked at each time: it costs as much as a decision from memory.
			for at := uint64(caller) + r.Seed; mine%16 != 0 || mine == 0 || time.Since(start) < duration; mine++ {
				at = at*6364136223846793005 + 1442695040888963407 // Knuth, MMIX
				ok, err := s.allow(ctx, keys[at>>33%uint64(len(keys))])
				if err != nil {
					failure.Store(&err)
					return
				}
				if ok {
					got++
				}
			}
			decisions.Add(int64(mine))
			granted.Add(int64(got))
		})
	}
	all.Wait()
	took := time.Since(start)
	after, err := s.cpuTime(ctx)
	if err != nil {
		return nil, err
	}
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	n, ok := decisions.Load(), granted.Load()
	if !denied && ok < n {
		return nil, fmt.Errorf("%d of %d decisions are denials, want none", n-ok, n)
	}
	if most := int64(11 + 10*took.Seconds()); denied && ok > most {
		return nil, fmt.Errorf("%d of %d decisions are grants, want at most %d", ok, n, most)
	}
	return bench.Figures{"ops_per_s": float64(n) / took.Seconds(), "cpu_ns": float64(after-before) / float64(n)}, nil
}

// serve starts a server, and returns it and what ends it.
func serve() (server *testserver.RedisServer, stop func(), err error) {
	servers, ended, end := make(chan *testserver.RedisServer, 1), make(chan error, 1), make(chan struct{})
	go func() {
		ended <- testserver.Run(func(tb testserver.TB) {
			servers <- testserver.Redis(tb)
			<-end
		})
	}()
	select {
	case server := <-servers:
		return server, func() { close(end); <-ended }, nil
	case err := <-ended:
		return nil, nil, err
	}
}

// cpuTime returns the CPU time of this process and the server, which is what decisions
// cost where both have a machine to themselves.
func (s *subject) cpuTime(ctx context.Context) (time.Duration, error) {
	reply, err := s.server.Do(ctx, "INFO", "cpu")
	if err != nil {
		return 0, err
	}
	used := bench.CPUTime()
	text, _ := reply.(string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != "used_cpu_user" && name != "used_cpu_sys" {
			continue
		}
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		used += time.Duration(seconds * float64(time.Second))
	}
	return used, nil
}
