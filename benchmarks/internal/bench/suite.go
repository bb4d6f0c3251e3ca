package bench

import (
	"cmp"
	"regexp"
	"strings"
)

// Ours is the name of this library's implementation with default settings;
// variants of it are named Ours, a hyphen and a word.
const Ours = "uprung"

// A Suite is a set of contests on one subject and the targets that this library
// sets itself there.
type Suite struct {
	// Name is what -suite selects.
	Name string
	// Workload says in a few lines what is measured and how.
	Workload string
	// Contests are run in order.
	Contests []Runnable
	// Targets are judged once all contests have run.
	Targets []Target
	// Absent names the implementations that belong here and could not be had.
	Absent []Absent
}

// Absent is an implementation that is left out of a suite.
type Absent struct {
	Impl, Why string
}

// Cases returns the names of all cases in the order in which they run.
func (s *Suite) Cases() []string {
	var names []string
	for _, contest := range s.Contests {
		names = append(names, contest.caseNames()...)
	}
	return names
}

// Exact reports whether all figures depend on the seed alone.
func (s *Suite) Exact() bool {
	for _, contest := range s.Contests {
		if !contest.exact() {
			return false
		}
	}
	return true
}

// Runnable is a [Contest] whatever its implementations are.
type Runnable interface {
	caseNames() []string
	exact() bool
	run(*run)
}

// A Contest is a set of implementations that are set up once and then meet in
// one case after the other. S is the form in which the cases use them. A subject
// with a method Close() is closed after the last case.
type Contest[S any] struct {
	// Impls are the implementations, ours first. One named Reference of a case is
	// the zero of that case.
	Impls []Impl[S]
	// Cases are run in order.
	Cases []Case[S]
}

// Impl is one implementation in a contest.
type Impl[S any] struct {
	Name string
	// Open sets the implementation up, outside of any measurement.
	Open func(*Env) (S, error)
}

// Case is one measurement that all implementations of a contest undergo.
type Case[S any] struct {
	// Name is unique in the suite.
	Name string
	// Procs is the GOMAXPROCS of the case and the number of workers of its loops.
	// Zero means 1.
	Procs int
	// Heavy says that a round has a fixed amount of work, which takes far longer
	// than a loop. Half as many rounds are run.
	Heavy bool
	// Exact says that the figures depend on the seed alone, as those of a simulation
	// do. One round is run.
	Exact bool
	// Ratio is the metric by which the table compares: ours divided by the
	// peer's.
	Ratio string
	// Reference is the name of the implementation that does nothing: its figures
	// are subtracted from those of the others, round by round. Empty means that
	// there is none.
	Reference string
	// Begin prepares the case, outside of any measurement, and returns what
	// measures one implementation for one round.
	Begin func(*Env) func(S, *Round) (Figures, error)
}

// Env is what setting up and preparing may depend on.
type Env struct {
	// Seed makes random workloads repeatable.
	Seed uint64
	// Shrink divides the sizes of workloads. The figures then say nothing: it is
	// for tests. Zero means 1.
	Shrink int
	// Quick asks for rough figures: what runs for a fixed time, and not for that of a
	// round, may run for less.
	Quick bool
}

// Size returns n, or less of it in a test, but at least 1.
func (e *Env) Size(n int) int { return max(1, n/max(1, e.Shrink)) }

// Figures are what one round of one implementation gave, by metric. The metrics
// are those of [Metrics].
type Figures map[string]float64

// Metric is a kind of figure.
type Metric struct {
	Name, Unit string
}

// Metrics are the known metrics in the order in which tables show them.
var Metrics = []Metric{
	{"cpu_ns", "ns/op"},
	{"wall_ns", "ns/op"},
	{"bytes", "B/op"},
	{"allocs", "allocs/op"},
	{"bytes_per_key", "B/key"},
	{"bytes_per_entry", "B/entry"},
	{"objects_per_key", "objects/key"},
	{"gc_ms", "ms"},
	{"insert_ns", "ns/key"},
	{"heap_bytes", "B"},
	{"max_over_avg", "ratio"},
	{"moved_over_ideal", "ratio"},
	{"astray", "ratio"},
	{"slots_off", "slots"},
	{"p50_ms", "ms"},
	{"p99_ms", "ms"},
	{"p999_ms", "ms"},
	{"error_ratio", "ratio"},
	{"failing_share", "ratio"},
	{"amplification", "ratio"},
	{"goodput_ratio", "ratio"},
	{"recovery_s", "s"},
	{"capacity", "entries"},
	{"hit_ratio", "ratio"},
	{"of_belady", "ratio"},
	{"above_inline", "ratio"},
	{"requests_per_s", "requests/s"},
	{"ops_per_s", "ops/s"},
}

// higherIsBetter reports of a metric whether it is.
func higherIsBetter(metric string) bool {
	switch metric {
	case "requests_per_s", "ops_per_s", "hit_ratio", "of_belady", "above_inline", "goodput_ratio":
		return true
	}
	return false
}

// unit returns the unit of a metric, and false if it is not known.
func unit(metric string) (string, bool) {
	for _, m := range Metrics {
		if m.Name == metric {
			return m.Unit, true
		}
	}
	return "", false
}

// Target is a figure that this library sets out to reach, in one case or in
// every case that Case matches.
type Target struct {
	// Case is a regular expression that matches whole names of cases.
	Case string
	// Metric is what is judged.
	Metric string
	// Impl is which of this library's implementations is judged. Empty means Ours.
	Impl string
	// Peer is the implementation to which ours is compared: the target bounds the
	// ratio ours/peer. Best is the best of all peers. Empty means that the target
	// bounds our figure itself.
	Peer string
	// Bound is what the figure or ratio must keep.
	Bound Bound
	// Stretch marks a target that is hoped for and never fails a check.
	Stretch bool
}

// Best stands for the best peer of a case in a [Target].
const Best = "best peer"

// Bound is an upper or a lower bound.
type Bound struct {
	value float64
	least bool
}

// AtMost bounds what is better when lower.
func AtMost(v float64) Bound { return Bound{value: v} }

// AtLeast bounds what is better when higher.
func AtLeast(v float64) Bound { return Bound{value: v, least: true} }

func (b Bound) holds(v float64) bool {
	if b.least {
		return v >= b.value
	}
	return v <= b.value
}

// better reports whether a is better than b in the direction of the bound.
func (b Bound) better(a, than float64) bool {
	if b.least {
		return a > than
	}
	return a < than
}

func (b Bound) String() string {
	if b.least {
		return ">= " + number(b.value)
	}
	return "<= " + number(b.value)
}

// impl returns the implementation that is judged.
func (t *Target) impl() string { return cmp.Or(t.Impl, Ours) }

// ours reports whether an implementation is one of this library's.
func ours(impl string) bool { return impl == Ours || strings.HasPrefix(impl, Ours+"-") }

// whole compiles an expression that must match a whole name.
func whole(expr string) *regexp.Regexp { return regexp.MustCompile("^(?:" + expr + ")$") }
