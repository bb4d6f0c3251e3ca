package bench

import (
	"errors"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fixed is a case in which every implementation is a function from the number
// of the round to its figure.
func fixed(reference string, impls ...Impl[func(int) float64]) *Contest[func(int) float64] {
	return &Contest[func(int) float64]{
		Impls: impls,
		Cases: []Case[func(int) float64]{{
			Name: "c", Ratio: "cpu_ns", Reference: reference,
			Begin: func(*Env) func(func(int) float64, *Round) (Figures, error) {
				return func(f func(int) float64, r *Round) (Figures, error) {
					v := f(r.Number)
					if math.IsInf(v, -1) {
						return nil, errors.New("wrong")
					}
					return Figures{"cpu_ns": v, "allocs": 0}, nil
				}
			},
		}},
	}
}

func impl(name string, f func(round int) float64) Impl[func(int) float64] {
	return Impl[func(int) float64]{Name: name, Open: func(*Env) (func(int) float64, error) { return f, nil }}
}

func constant(v float64) func(int) float64 { return func(int) float64 { return v } }

func value(t *testing.T, report *Report, impl, metric string) float64 {
	t.Helper()
	for _, r := range report.Results {
		if r.Impl == impl && r.Metric == metric {
			return r.Value
		}
	}
	t.Fatalf("no %s of %s in %v", metric, impl, report.Results)
	return 0
}

func TestRunTakesMedianAndRotates(t *testing.T) {
	var order []string
	noted := func(name string, values ...float64) Impl[func(int) float64] {
		return impl(name, func(round int) float64 {
			order = append(order, name)
			return values[round]
		})
	}
	s := &Suite{Name: "s", Contests: []Runnable{fixed("", noted("uprung", 10, 500, 20), noted("a", 7, 7, 900), noted("b", 1, 2, 3))}}
	report := s.Run(&Config{Rounds: 3, Out: io.Discard})
	if report.Err != nil {
		t.Fatal(report.Err)
	}
	for name, want := range map[string]float64{"uprung": 20, "a": 7, "b": 2} {
		if got := value(t, report, name, "cpu_ns"); got != want {
			t.Errorf("cpu_ns of %s is %v, want %v", name, got, want)
		}
	}
	if got, want := strings.Join(order, " "), "uprung a b a b uprung b uprung a"; got != want {
		t.Errorf("order is %q, want %q", got, want)
	}
}

func TestRunExactOnce(t *testing.T) {
	rounds := 0
	contest := fixed("", impl("uprung", func(int) float64 { rounds++; return 3 }))
	s := &Suite{Contests: []Runnable{contest, contest}}
	if s.Exact() {
		t.Error("Exact() is true without an exact case")
	}
	contest.Cases[0].Exact = true
	if !s.Exact() {
		t.Error("Exact() is false, and all cases are exact")
	}
	report := s.Run(&Config{Rounds: 7, Out: io.Discard})
	if got := value(t, report, "uprung", "cpu_ns"); got != 3 || rounds != 2 {
		t.Errorf("two exact cases give %v in %d rounds, want 3 in 2", got, rounds)
	}
	if s.Contests = append(s.Contests, fixed("")); s.Exact() {
		t.Error("Exact() is true, and one case is not exact")
	}
}

func TestRunSubtractsReference(t *testing.T) {
	s := &Suite{Contests: []Runnable{fixed("bare",
		impl("uprung", func(round int) float64 { return 100*float64(round) + 5 }),
		impl("peer", func(round int) float64 { return 100*float64(round) + 50 }),
		impl("bare", func(round int) float64 { return 100 * float64(round) }),
	)}}
	var out strings.Builder
	report := s.Run(&Config{Rounds: 3, Impl: regexp.MustCompile("uprung|peer"), Out: &out})
	for name, want := range map[string]float64{"uprung": 5, "peer": 50, "bare": 100} {
		if got := value(t, report, name, "cpu_ns"); got != want {
			t.Errorf("cpu_ns of %s is %v, want %v", name, got, want)
		}
	}
	if !strings.Contains(out.String(), "0.10") {
		t.Errorf("the table does not show the ratio 0.10:\n%s", out.String())
	}
}

func TestRunLeavesFailuresOut(t *testing.T) {
	wrong := impl("wrong", func(round int) float64 {
		if round == 1 {
			return math.Inf(-1)
		}
		return 1
	})
	broken := Impl[func(int) float64]{Name: "broken", Open: func(*Env) (func(int) float64, error) { return nil, errors.New("no") }}
	s := &Suite{Contests: []Runnable{fixed("", impl("uprung", constant(1)), wrong, impl("nan", constant(math.NaN())), broken)}}
	report := s.Run(&Config{Rounds: 3, Out: io.Discard})
	for _, want := range []string{"wrong: wrong", "nan: cpu_ns is NaN", "broken: no"} {
		if report.Err == nil || !strings.Contains(report.Err.Error(), want) {
			t.Errorf("Err is %v, want it to contain %q", report.Err, want)
		}
	}
	for _, r := range report.Results {
		if r.Impl != "uprung" {
			t.Errorf("%s has a result", r.Impl)
		}
	}

	s = &Suite{Contests: []Runnable{fixed("wrong", impl("uprung", constant(1)), wrong)}}
	if report := s.Run(&Config{Rounds: 3, Out: io.Discard}); report.Err == nil || len(report.Results) != 0 {
		t.Errorf("a failing reference gives %v, %v, want an error and no results", report.Results, report.Err)
	}
}

func TestTargets(t *testing.T) {
	contest := fixed("bare", impl("uprung", constant(11)), impl("uprung-two", constant(6)), impl("fast", constant(21)), impl("slow", constant(101)), impl("bare", constant(1)))
	for _, tt := range []struct {
		target Target
		want   string
	}{
		{Target{Case: "c", Metric: "cpu_ns", Bound: AtMost(10)}, "holds      c: cpu_ns of uprung <= 10, is 10"},
		{Target{Case: "c", Metric: "cpu_ns", Bound: AtLeast(11)}, "MISSED     c: cpu_ns of uprung >= 11, is 10"},
		{Target{Case: "c", Metric: "cpu_ns", Peer: "slow", Bound: AtMost(0.1)}, "holds      c: cpu_ns of uprung/slow <= 0.10, is 0.10"},
		{Target{Case: "c", Metric: "cpu_ns", Peer: Best, Bound: AtMost(0.4), Stretch: true}, "MISSED     c: cpu_ns of uprung/best peer <= 0.40 (stretch), is 0.50 to fast"},
		{Target{Case: "c", Metric: "cpu_ns", Peer: Best, Bound: AtLeast(0.1)}, "holds      c: cpu_ns of uprung/best peer >= 0.10, is 0.10 to slow"},
		{Target{Case: "c", Metric: "cpu_ns", Impl: "uprung-two", Bound: AtMost(5)}, "holds      c: cpu_ns of uprung-two <= 5, is 5"},
		{Target{Case: "c", Metric: "cpu_ns", Impl: "uprung-two", Peer: "fast", Bound: AtMost(0.2)}, "MISSED     c: cpu_ns of uprung-two/fast <= 0.20, is 0.25"},
		{Target{Case: "c.", Metric: "cpu_ns", Bound: AtMost(10)}, "no figure  c.: cpu_ns of uprung <= 10"},
		{Target{Case: "c", Metric: "cpu_ns", Peer: "absent", Bound: AtMost(1)}, "no figure  c: cpu_ns of uprung/absent <= 1"},
		{Target{Case: "c", Metric: "allocs", Bound: AtMost(0)}, "holds      c: allocs of uprung <= 0, is 0"},
	} {
		s := &Suite{Contests: []Runnable{contest}, Targets: []Target{tt.target}}
		report := s.Run(&Config{Rounds: 1, Out: io.Discard})
		if got := report.Verdicts[0].String(); got != tt.want {
			t.Errorf("verdict is %q, want %q", got, tt.want)
		}
	}
}

func TestTargetTakesWorstCase(t *testing.T) {
	tables := []*table{
		{name: "a/1", figures: map[string]Figures{Ours: {"bytes": 3}}},
		{name: "a/2", figures: map[string]Figures{Ours: {"bytes": 8}}},
		{name: "a/3", figures: map[string]Figures{Ours: {"bytes": 5}}},
		{name: "b/1", figures: map[string]Figures{Ours: {"bytes": 99}}},
	}
	target := Target{Case: "a/.*", Metric: "bytes", Bound: AtMost(7)}
	v := target.judge(tables)
	if got, want := v.String(), "MISSED     a/.*: bytes of uprung <= 7, is 8 at worst in 3 cases (a/2)"; got != want {
		t.Errorf("verdict is %q, want %q", got, want)
	}
}

// sink keeps the compiler from removing what TestLoop allocates.
var sink [2][]byte

func TestLoop(t *testing.T) {
	for procs := 1; procs <= 2; procs++ {
		var first [2]int
		seen := [2]int{}
		r := &Round{Env: &Env{}, Number: 2, Procs: procs, Duration: 2 * time.Millisecond}
		f, err := r.Loop(func(worker, from, n int) int {
			if seen[worker] == 0 {
				first[worker] = from
			}
			if want := first[worker] + seen[worker]; from != want {
				t.Errorf("worker %d begins at %d, want %d", worker, from, want)
			}
			seen[worker] += n
			for range n {
				sink[worker] = make([]byte, 64)
			}
			return n
		})
		if err != nil {
			t.Fatal(err)
		}
		if first[0] != 2*roundStride {
			t.Errorf("round 2 begins at %d, want %d", first[0], 2*roundStride)
		}
		if rounded("allocs", f["allocs"]) < 1 || f["allocs"] > 1.1 || f["bytes"] < 64 || f["bytes"] > 80 {
			t.Errorf("procs %d: %v allocs and %v bytes per operation, want 1 and 64", procs, f["allocs"], f["bytes"])
		}
		total := float64(seen[0] + seen[1])
		if elapsed := f["wall_ns"] * total; elapsed < float64(r.Duration) {
			t.Errorf("procs %d: wall_ns adds up to %v ns, want at least %v", procs, elapsed, r.Duration)
		}
		if f["cpu_ns"] <= 0 {
			t.Errorf("procs %d: cpu_ns is %v, want > 0", procs, f["cpu_ns"])
		}
	}
}

func TestLoopChecksOperations(t *testing.T) {
	t.Parallel()
	r := &Round{Env: &Env{}, Procs: 2}
	_, err := r.Loop(func(worker, _, n int) int { return n - worker })
	if err == nil || !strings.Contains(err.Error(), "1 of 2048 operations") {
		t.Errorf("Loop = %v, want an error about 1 of 2048 operations", err)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 2, 4}, 3},
	} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestTableHasTheBestFirst(t *testing.T) {
	t.Parallel()
	for metric, want := range map[string]string{"cpu_ns": "uprung peer", "requests_per_s": "peer uprung"} {
		one := &table{name: "c", ratio: metric, impls: []string{"peer", "uprung"}, figures: map[string]Figures{"uprung": {metric: 10}, "peer": {metric: 20}}}
		var order []string
		for line := range strings.Lines(one.String()) {
			if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name == "peer" || name == "uprung" {
				order = append(order, name)
			}
		}
		if got := strings.Join(order, " "); got != want {
			t.Errorf("by %s the order is %q, want %q", metric, got, want)
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 3: "3", 1234.5: "1234", 12.34: "12.3", 1.234: "1.23", 0.1: "0.10", 0.0999: "0.1", 0.0123: "0.012", 0.001: "0.001", 0.00012: "0.00012"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) is %q, want %q", v, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ shrink, n, want int }{{0, 7, 7}, {1, 7, 7}, {3, 7, 2}, {100, 7, 1}} {
		e := Env{Shrink: tt.shrink}
		if got := e.Size(tt.n); got != tt.want {
			t.Errorf("shrunk by %d, Size(%d) = %d, want %d", tt.shrink, tt.n, got, tt.want)
		}
	}
}
