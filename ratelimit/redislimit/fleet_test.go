package redislimit_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

// event is something that was granted: at some instant between two.
type event struct{ asked, answered time.Duration }

// mostWithin returns by how many events some stretch of time exceeds burst + rate*(d+age),
// and that stretch: zero if none does. The events are those that were asked for and answered
// within it, which were certainly granted within it.
func exceeds(events []event, burst, perSecond float64, age time.Duration) (by float64, from, to time.Duration) {
	slices.SortFunc(events, func(a, b event) int { return int(a.answered - b.answered) })
	for i := range events {
		from := events[i].asked
		n := 0.0
		for _, e := range events {
			if e.asked < from {
				continue
			}
			n++
			if over := n - burst - perSecond*(e.answered-from+age).Seconds(); over > by {
				by, to = over, e.answered
			}
		}
		if by > 0 {
			return by, from, to
		}
	}
	return 0, 0, 0
}

// Eight processes with leases never admit more than burst + rate*(d + age), over any
// stretch of time, whatever they ask for and give back.
func TestTrap02FleetNeverExceedsTheBound(t *testing.T) {
	t.Parallel()
	server := redis(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for round := range 4 {
		random := rand.New(rand.NewPCG(seed, uint64(round)))
		burst, perSecond := 20+random.Int64N(200), 50+random.Int64N(1000)
		age := time.Duration(10+random.IntN(100)) * time.Millisecond
		lease := 2 + random.Int64N(burst)
		t.Run(fmt.Sprintf("%d per second, burst %d, lease %d for %v", perSecond, burst, lease, age), func(t *testing.T) {
			t.Parallel()
			const processes, callers = 8, 4
			limit := ratelimit.PerSecond(perSecond).WithBurst(burst)
			policy := name()
			start := time.Now()
			var mu sync.Mutex
			var events []event
			var asked, decisions atomic.Uint64
			var fleet sync.WaitGroup
			for process := range processes {
				s := newStore(t, patient, server.Addr())
				l := newLimiter(t, limit, s, redislimit.Options{Options: named(policy), Lease: lease, LeaseAge: age})
				for caller := range callers {
					random := rand.New(rand.NewPCG(seed, uint64(1000*round+10*process+caller)))
					fleet.Go(func() {
						var mine []event
						for time.Since(start) < time.Second {
							n := int64(1)
							if random.IntN(10) == 0 {
								n = 1 + random.Int64N(5)
							}
							e := event{asked: time.Since(start)}
							res, err := l.Take(t.Context(), "k", n)
							if err != nil {
								t.Error(err)
								return
							}
							e.answered = time.Since(start)
							for range res.Granted {
								mine = append(mine, e)
							}
							switch pause := random.IntN(200); {
							case pause == 0: // a lease grows old
								time.Sleep(age)
							case pause < 20:
								runtime.Gosched()
							}
						}
						mu.Lock()
						defer mu.Unlock()
						events = append(events, mine...)
					})
				}
				t.Cleanup(func() {
					stats := l.Stats()
					asked.Add(stats.Asked)
					decisions.Add(stats.Granted + stats.Denied)
				})
			}
			fleet.Wait()
			took := time.Since(start)
			if by, from, to := exceeds(events, float64(burst), float64(perSecond), age); by > 1 {
				t.Errorf("between %v and %v the fleet admitted %.1f events more than the bound (seed %d)", from, to, by, seed)
			}
			// And the bound is not kept by granting nothing.
			if len(events) < int(burst)/2 {
				t.Errorf("%d events were granted in %v, of a burst of %d", len(events), took, burst)
			}
		})
	}
}

// What is checked above can be exceeded: three processes that do not share do.
func TestTheBoundCanBeExceeded(t *testing.T) {
	t.Parallel()
	var events []event
	for i := range 300 {
		at := time.Duration(i) * time.Millisecond
		events = append(events, event{at, at})
	}
	if by, _, _ := exceeds(slices.Clone(events), 10, 1000, 0); by > 0 {
		t.Errorf("1000 per second exceed that by %v", by)
	}
	if by, _, _ := exceeds(events, 10, 300, 0); by < 1 {
		t.Error("1000 per second do not exceed 300")
	}
}

// stalls measures how long goroutines of this process are kept waiting by the machine.
type stalls struct {
	mu   sync.Mutex
	all  []time.Duration
	stop chan struct{}
	done sync.WaitGroup
}

func watchStalls() *stalls {
	s := &stalls{stop: make(chan struct{})}
	s.done.Go(func() {
		for {
			start := time.Now()
			select {
			case <-s.stop:
				return
			case <-time.After(time.Millisecond):
			}
			s.mu.Lock()
			s.all = append(s.all, time.Since(start)-time.Millisecond)
			s.mu.Unlock()
		}
	})
	return s
}

// end returns the longest and the 99th percentile.
func (s *stalls) end() (longest, p99 time.Duration) {
	close(s.stop)
	s.done.Wait()
	slices.Sort(s.all)
	return s.all[len(s.all)-1], s.all[len(s.all)*99/100]
}

// fleet is several processes under load.
type fleet struct {
	limiters []*redislimit.Limiter
	stores   []*redislimit.Store
	granted  atomic.Int64
	mu       sync.Mutex
	took     []time.Duration // guarded by mu
	stop     chan struct{}
	callers  sync.WaitGroup
}

const (
	fleetProcesses = 4
	fleetRate      = 400
	fleetTimeout   = 100 * time.Millisecond
)

func startFleet(t *testing.T, addr string, o redislimit.Options) *fleet {
	t.Helper()
	f := &fleet{stop: make(chan struct{})}
	o.Options = named(name())
	o.Replicas = func() int { return fleetProcesses }
	for range fleetProcesses {
		s, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{addr}}, &redislimit.StoreOptions{Timeout: fleetTimeout})
		if err != nil {
			t.Fatal(err)
		}
		l := newLimiter(t, ratelimit.PerSecond(fleetRate), s, o)
		f.stores, f.limiters = append(f.stores, s), append(f.limiters, l)
		for range 4 {
			f.callers.Go(func() {
				for {
					select {
					case <-f.stop:
						return
					case <-time.After(3 * time.Millisecond): // some 5000 per second in all
					}
					start := time.Now()
					res, err := l.Take(t.Context(), "k", 1)
					took := time.Since(start)
					if err != nil {
						t.Error(err)
						return
					}
					f.granted.Add(res.Granted)
					f.mu.Lock()
					f.took = append(f.took, took)
					f.mu.Unlock()
				}
			})
		}
	}
	return f
}

// measure returns what was granted per second and how long decisions took, for a while.
func (f *fleet) measure(d time.Duration) (perSecond float64, longest, p99 time.Duration) {
	f.mu.Lock()
	f.took = nil
	f.mu.Unlock()
	before, start := f.granted.Load(), time.Now()
	time.Sleep(d)
	perSecond = float64(f.granted.Load()-before) / time.Since(start).Seconds()
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.took)
	if len(f.took) == 0 {
		return perSecond, 0, 0
	}
	return perSecond, f.took[len(f.took)-1], f.took[len(f.took)*99/100]
}

// whole waits until every process has its decisions made by Redis again, and returns how
// long that took.
func (f *fleet) whole(t *testing.T) time.Duration {
	t.Helper()
	start := time.Now()
	for _, l := range f.limiters {
		waitFor(t, func() bool {
			before := l.Stats()
			time.Sleep(20 * time.Millisecond) // some decisions
			after := l.Stats()
			return after.Away == before.Away && after.Asked > before.Asked
		})
	}
	return time.Since(start)
}

// drained waits until every process decides by itself and has spent its burst.
func (f *fleet) drained(t *testing.T) {
	t.Helper()
	for _, l := range f.limiters {
		waitFor(t, func() bool {
			before := l.Stats()
			time.Sleep(5 * time.Millisecond) // some decisions
			after := l.Stats()
			return after.Away > before.Away && after.Denied > before.Denied
		})
	}
}

func (f *fleet) close(t *testing.T) {
	t.Helper()
	close(f.stop)
	f.callers.Wait()
	for _, s := range f.stores {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Redis is killed, halted and restarted under load. This test is not parallel: it counts
// goroutines.
func TestOutageUnderLoad(t *testing.T) {
	server := redis(t)
	for _, tt := range []struct {
		name    string
		o       redislimit.Options
		fail    func()
		recover func()
	}{
		{"killed", redislimit.Options{DenyAge: -1}, server.Kill, server.Restart},
		{"halted", redislimit.Options{DenyAge: -1}, server.Pause, server.Resume},
		{"halted with leases", redislimit.Options{Lease: 20}, server.Pause, server.Resume},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			machine := watchStalls()
			f := startFleet(t, server.Addr(), tt.o)
			f.measure(1200 * time.Millisecond) // the bursts are spent
			f.whole(t)

			tt.fail()
			_, longest, _ := f.measure(300 * time.Millisecond) // the first failures
			f.drained(t)
			rate, later, p99 := f.measure(1500 * time.Millisecond)
			tt.recover()
			returned := f.whole(t)
			_, longestReturn, _ := f.measure(500 * time.Millisecond)
			f.close(t)
			stall, stall99 := machine.end()

			longest = max(longest, later, longestReturn)
			t.Logf("while it is down %.0f per second, p99 %v; longest %v; back after %v; the machine stalls for %v, p99 %v",
				rate, p99, longest, returned, stall, stall99)
			if longest > fleetTimeout+20*time.Millisecond+3*stall {
				t.Errorf("a decision took %v, want at most the timeout of %v", longest, fleetTimeout)
			}
			if p99 > time.Millisecond+2*stall99 {
				t.Errorf("p99 is %v while it is down, want at most 1ms", p99)
			}
			if rate > 1.1*fleetRate || rate < 0.9*fleetRate && stall < 100*time.Millisecond {
				t.Errorf("the fleet admits %.0f per second while Redis is down, want %d within a tenth", rate, fleetRate)
			}
			if returned > 2*time.Second+3*stall {
				t.Errorf("full service took %v, want at most 2s", returned)
			}
			waitForGoroutines(t, before)
		})
	}
}

// waitForGoroutines waits until there are no more than there were.
func waitForGoroutines(t *testing.T, want int) {
	t.Helper()
	start := time.Now()
	for runtime.NumGoroutine() > want {
		if time.Since(start) > 5*time.Second {
			buf := make([]byte, 1<<20)
			stacks := string(buf[:runtime.Stack(buf, true)])
			var left []string
			for stack := range strings.SplitSeq(stacks, "\n\n") {
				if strings.Contains(stack, "rueidis") || strings.Contains(stack, "redisx") || strings.Contains(stack, "redislimit") {
					left = append(left, stack)
				}
			}
			t.Fatalf("%d goroutines, were %d:\n%s", runtime.NumGoroutine(), want, strings.Join(left, "\n\n"))
		}
		time.Sleep(10 * time.Millisecond)
	}
}
