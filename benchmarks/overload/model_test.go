package overload

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// TestModel is what the suite overload runs.
func TestModel(t *testing.T) {
	q, asked := bench.Asked()
	if !asked {
		t.Skip("nobody asks: the suite overload does")
	}
	n := seeds
	if q.Quick {
		n = 1
	}
	f := inBubbles(t, q.Case, q.Impl, q.Seed, q.Size(n), q.Size(part))
	if err := q.Answer(f); err != nil {
		t.Fatal(err)
	}
}

// inBubbles returns the means of the figures of a number of runs.
func inBubbles(t *testing.T, name, impl string, seed uint64, n, part int) bench.Figures {
	t.Helper()
	g := slices.IndexFunc(guards, func(g guard) bool { return g.name == impl })
	s := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	if g < 0 || s < 0 {
		t.Fatalf("implementation is %q and case %q, want one of %q and of %q", impl, name, names(), cases())
	}
	sum := bench.Figures{}
	for i := range n {
		synctest.Test(t, func(t *testing.T) {
			r, err := run(t.Context(), &guards[g], &scenarios[s], seed+uint64(i), part)
			if err != nil {
				t.Fatal(err)
			}
			for metric, v := range scenarios[s].figures(r, part) {
				sum[metric] += v / float64(n)
			}
		})
	}
	return sum
}

func TestRunsRepeat(t *testing.T) {
	for _, impl := range []string{bench.Ours, serverLimit, none, thrice, "gobreaker"} {
		for _, name := range []string{"demand=2x", "outage=hang"} {
			f := inBubbles(t, name, impl, 1, 1, 1)
			if again := inBubbles(t, name, impl, 1, 1, 1); !maps.Equal(f, again) {
				t.Errorf("%s of %s: %v, then %v", name, impl, f, again)
			}
			if other := inBubbles(t, name, impl, 2, 1, 1); maps.Equal(f, other) && name == "demand=2x" {
				t.Errorf("%s of %s: another seed gives the same %v", name, impl, f)
			}
		}
	}
}

// The service does what it says it can, and no more.
func TestServiceHasItsCapacity(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ demand, least, most float64 }{{0.8, 0.97, 1.03}, {1.2, 0.93, 1.03}} {
		synctest.Test(t, func(t *testing.T) {
			patient := guard{client: func(wire http.RoundTripper, _ uint64) (http.RoundTripper, error) { return wire, nil }}
			r, err := run(t.Context(), &patient, &scenario{demand: tt.demand}, 1, 4)
			if err != nil {
				t.Fatal(err)
			}
			// Within the patience of clients, an overload of twenty seconds is not felt before
			// the queue takes three seconds.
			if got := r.goodput(2, 14); got < tt.least || got > tt.most || r.attempts != r.requests {
				t.Errorf("at %v: goodput is %v, want %v to %v; %d attempts for %d requests", tt.demand, got, tt.least, tt.most, r.attempts, r.requests)
			}
		})
	}
}

// One after the other, what the service does to requests.
func TestService(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		outage   outage
		at       time.Duration // of the request
		deadline time.Duration // from then; zero is none
		first    int           // others that come at the same time
		status   int
		took     time.Duration
	}{
		{"well", never, 0, 0, 0, 200, time.Second},
		{"all workers are busy", never, 0, 0, workers, 200, 2 * time.Second},
		{"a deadline that has passed", never, 0, 500 * time.Millisecond, workers, 504, time.Second},
		{"the queue is full", never, 0, 0, workers + queued, 503, 0},
		{"before it fails", fails, 0, 0, 0, 200, time.Second},
		{"it fails", fails, 25 * time.Second, 0, 0, 500, 0},
		{"after it failed", fails, 30 * time.Second, 0, 0, 200, time.Second},
		{"begun before it hangs", hangs, 19500 * time.Millisecond, 0, 0, 200, 11 * time.Second},
		{"it hangs", hangs, 25 * time.Second, 0, 0, 200, 6 * time.Second},
		{"a refusal while it hangs", hangs, 25 * time.Second, 0, workers + queued, 503, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.WithValue(t.Context(), needsKey{}, time.Second))
			s := &service{outage: tt.outage, outages: span{20 * time.Second, 30 * time.Second}}
			s.start(ctx)
			time.Sleep(tt.at)
			var all sync.WaitGroup
			for range tt.first {
				all.Go(func() { s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil)) })
			}
			synctest.Wait()
			mine := ctx
			if tt.deadline > 0 {
				var end context.CancelFunc
				mine, end = context.WithTimeout(ctx, tt.deadline)
				defer end()
			}
			answer, begun := httptest.NewRecorder(), time.Now()
			s.ServeHTTP(answer, httptest.NewRequestWithContext(mine, "GET", "/", nil))
			if took := time.Since(begun); answer.Code != tt.status || took != tt.took {
				t.Errorf("%s: %d after %v, want %d after %v", tt.name, answer.Code, took, tt.status, tt.took)
			}
			all.Wait()
			cancel()
		})
	}
}

// What a refusal takes is taken from the next that is worked on.
func TestRefusalsTakeTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), needsKey{}, time.Second))
		defer cancel()
		s := &service{}
		s.start(ctx)
		s.refused()
		s.refused()
		for _, want := range []time.Duration{time.Second + 2*refusing, time.Second} {
			begun := time.Now()
			s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil))
			if took := time.Since(begun); took != want {
				t.Errorf("took %v, want %v", took, want)
			}
		}
	})
}

func TestMeasures(t *testing.T) {
	t.Parallel()
	r := &record{}
	for i := range 12 {
		s := second{arrived: 80, served: 80, completed: 80}
		if i >= 3 && i < 5 || i == 6 {
			s.served, s.completed = 71, 40
		}
		r.seconds = append(r.seconds, s)
	}
	if got := r.recovery(3); got != 4 {
		t.Errorf("recovery is %d, want 4: until the seventh second", got)
	}
	if got := r.recovery(7); got != 0 {
		t.Errorf("recovery is %d, want 0", got)
	}
	if got := r.recovery(10); got != 2 {
		t.Errorf("recovery is %d, want 2, which is never", got)
	}
	if got := r.goodput(2, 4); got != 0.75 {
		t.Errorf("goodput is %v, want 0.75", got)
	}
	r.seconds[0] = second{arrived: 400, completed: 50}
	if got := r.goodput(0, 1); got != 0.5 {
		t.Errorf("goodput is %v, want 0.5, of what can be done", got)
	}
}
