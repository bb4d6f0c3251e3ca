package lb

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

func exponential(r *rand.Rand) time.Duration {
	return time.Duration(r.ExpFloat64() * float64(meanService))
}

func constant(*rand.Rand) time.Duration { return meanService }

// mean returns the mean of a histogram.
func (h *histogram) mean() time.Duration {
	sum := 0.0
	for i, n := range h.counts {
		sum += (float64(i) + 0.5) * float64(step) * float64(n)
	}
	return time.Duration(sum / float64(h.total))
}

// TestQueues compares with what queueing theory says of one backend.
func TestQueues(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		service func(*rand.Rand) time.Duration
		load    float64
		wait    float64 // in units of the mean service time
	}{
		{"M/M/4", exponential, 0.5, erlangC(workers, 0.5*workers) / (workers * 0.5)},
		{"M/M/4", exponential, 0.8, erlangC(workers, 0.8*workers) / (workers * 0.2)},
		{"M/M/4", exponential, 0.9, erlangC(workers, 0.9*workers) / (workers * 0.1)},
		{"M/D/4", constant, 0.8, cosmetatos(workers, 0.8) * erlangC(workers, 0.8*workers) / (workers * 0.2)},
	} {
		s := scenario{backends: 1, clients: 3, load: tt.load, warmUp: 10 * time.Second, measured: 2000 * time.Second}
		o := newOutcomes()
		if err := newWorld(s, tt.service, 1, 0).run(roundRobin, o); err != nil {
			t.Fatal(err)
		}
		got := float64(o.answers.mean()-2*network)/float64(meanService) - 1
		if math.Abs(got-tt.wait) > 0.04*tt.wait+0.003 {
			t.Errorf("%s at %v: mean wait is %.3f service times, want %.3f", tt.name, tt.load, got, tt.wait)
		}
	}
}

// erlangC returns the probability of waiting at c servers with a load of a.
func erlangC(c int, a float64) float64 {
	term, sum := 1.0, 0.0
	for k := range c {
		sum += term
		term *= a / float64(k+1)
	}
	last := term * float64(c) / (float64(c) - a)
	return last / (sum + last)
}

// cosmetatos returns the wait with constant service times relative to that with
// exponential ones, approximately (Operational Research Quarterly 26, 1975).
func cosmetatos(c int, load float64) float64 {
	n := float64(c)
	return 0.5 * (1 + (1-load)*(n-1)*(math.Sqrt(4+5*n)-2)/(16*load*n))
}

func TestErlangC(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		c       int
		a, want float64
	}{{1, 0.7, 0.7}, {2, 1, 1.0 / 3}, {4, 3.2, 0.5964}} {
		if got := erlangC(tt.c, tt.a); math.Abs(got-tt.want) > 1e-4 {
			t.Errorf("erlangC(%d, %v) = %v, want %v", tt.c, tt.a, got, tt.want)
		}
	}
}

// short is a scenario in which everything happens.
func short(mixed bool) scenario {
	return scenario{mixed: mixed, backends: 20, clients: 10, load: 0.9, warmUp: 2 * time.Second, measured: 12 * time.Second}
}

// TestSimulationsRepeat also checks that nothing is lost.
func TestSimulationsRepeat(t *testing.T) {
	t.Parallel()
	for _, mixed := range []bool{true, false} {
		w, again, other := newWorld(short(mixed), lognormal, 1, 0), newWorld(short(mixed), lognormal, 1, 0), newWorld(short(mixed), lognormal, 2, 0)
		for _, one := range simEntrants {
			run := func(w *world) *outcomes {
				o := newOutcomes()
				if err := w.run(one.policy, o); err != nil {
					t.Fatal(err)
				}
				return o
			}
			o := run(w)
			for _, w := range []*world{w, again} {
				if !reflect.DeepEqual(o, run(w)) {
					t.Errorf("%s, mixed %v: two runs differ", one.name, mixed)
				}
			}
			if reflect.DeepEqual(o, run(other)) {
				t.Errorf("%s, mixed %v: another seed gives the same", one.name, mixed)
			}
			if o.sent != len(w.arrivals) || o.ended != o.sent {
				t.Errorf("%s, mixed %v: of %d requests, %d are sent and %d end", one.name, mixed, len(w.arrivals), o.sent, o.ended)
			}
			if o.measured != o.answers.total+o.failed || o.measured >= o.sent || o.late > int(o.answers.counts[patience/step]) {
				t.Errorf("%s, mixed %v: measured %d of %d, %d answers, %d failed, %d late", one.name, mixed, o.measured, o.sent, o.answers.total, o.failed, o.late)
			}
			if (o.failed > 0) != mixed || !mixed && o.whileFailing > 0 {
				t.Errorf("%s, mixed %v: %d failed", one.name, mixed, o.failed)
			}
		}
	}
}

// TestRoundRobinIsFair also checks what is counted as the failing backend's.
func TestRoundRobinIsFair(t *testing.T) {
	t.Parallel()
	s := short(true)
	w, o := newWorld(s, lognormal, 1, 0), newOutcomes()
	if err := w.run(roundRobin, o); err != nil {
		t.Fatal(err)
	}
	f := o.figures(&s)
	if got := f["failing_share"]; math.Abs(got-1) > 0.01 {
		t.Errorf("failing_share is %v, want 1", got)
	}
	third := float64(o.whileFailing) / float64(o.measured)
	if math.Abs(third-1.0/3) > 0.02 {
		t.Errorf("%v of all requests are sent while a backend fails, want a third", third)
	}
	if want := float64(o.failed+o.late) / float64(o.measured); f["error_ratio"] != want || o.failed == 0 || o.late == 0 {
		t.Errorf("error_ratio is %v of %d failed and %d late, want %v", f["error_ratio"], o.failed, o.late, want)
	}
}

func TestScenario(t *testing.T) {
	t.Parallel()
	s := scenario{mixed: true, backends: 20, clients: 7, load: 0.5, warmUp: time.Second, measured: 29 * time.Second}
	// 10 plain, 4 slow, 4 disturbed, 1 that stalls; the failing one is not counted.
	if got, want := s.capacity(), 10+4/3.0+3+0.8; math.Abs(got-want) > 1e-9 {
		t.Errorf("capacity is %v backends, want %v", got, want)
	}
	counts := map[role]int{}
	for _, r := range s.roles() {
		counts[r]++
	}
	if want := (map[role]int{plain: 10, slow: 4, disturbed: 4, stalling: 1, failing: 1}); !reflect.DeepEqual(counts, want) {
		t.Errorf("roles are %v, want %v", counts, want)
	}
	all := s.arrivals(lognormal, rand.New(rand.NewPCG(1, 1)))
	want := s.rate() * float64(s.end())
	if got := float64(len(all)); math.Abs(got-want) > 4*math.Sqrt(want) {
		t.Errorf("%v arrivals, want about %v", got, want)
	}
	work, squares, clients := 0.0, 0.0, map[int]int{}
	for i, a := range all {
		if i > 0 && a.at < all[i-1].at || a.at >= s.end() {
			t.Fatalf("arrival %d is at %v", i, a.at)
		}
		ms := float64(a.work) / float64(time.Millisecond)
		work, squares = work+ms, squares+math.Log(ms)*math.Log(ms)
		clients[a.client]++
	}
	n := float64(len(all))
	if mean := work / n; math.Abs(mean-10) > 0.15 {
		t.Errorf("mean service time is %v ms, want 10", mean)
	}
	mu := math.Log(10) - 0.32
	if sigma := math.Sqrt(squares/n - mu*mu); math.Abs(sigma-0.8) > 0.02 {
		t.Errorf("sigma is %v, want 0.8", sigma)
	}
	for c := range s.clients {
		if got := float64(clients[c]) / n * float64(s.clients); math.Abs(got-1) > 0.05 {
			t.Errorf("client %d has %v of its share", c, got)
		}
	}
}

func TestSimulationSize(t *testing.T) {
	t.Parallel()
	if got := len(SimulationSuite().Cases()); got != 24 {
		t.Errorf("there are %d cases, want 24", got)
	}
	if !SimulationSuite().Exact() || Suite().Exact() {
		t.Error("the simulation is exact, and costs are not")
	}
	for _, e := range []bench.Env{{Seed: 1, Quick: true, Shrink: 20}, {Seed: 1, Shrink: 80}} {
		c := simulation(scenario{mixed: true, backends: 20, clients: 10, load: 0.7})
		f, err := c.Begin(&e)(powerOfTwo, nil)
		if err != nil || f["p50_ms"] < 5 || f["p99_ms"] <= f["p50_ms"] {
			t.Errorf("%+v gives %v, %v", e, f, err)
		}
	}
}
