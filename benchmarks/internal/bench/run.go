package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"runtime"
	"slices"
	"time"
)

// Config says how much of a suite to run, and how long.
type Config struct {
	Env
	// Rounds is the number of rounds of each case.
	Rounds int
	// Duration is how long one implementation loops in one round.
	Duration time.Duration
	// Case and Impl select cases and implementations by name; nil selects all. A
	// case's reference always runs.
	Case, Impl *regexp.Regexp
	// Out receives a table after each case.
	Out io.Writer
}

// Result is one figure: the median of the rounds.
type Result struct {
	Suite  string  `json:"suite"`
	Case   string  `json:"case"`
	Impl   string  `json:"impl"`
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
}

// Report is what a run gave.
type Report struct {
	// Results are all figures, in the order in which they were measured.
	Results []Result
	// Verdicts tell how the targets of the suite stand.
	Verdicts []Verdict
	// Err names every implementation that could not be set up or that failed in a
	// case; it has no figures there. It is nil if all went well.
	Err error
}

// run is the state of a running suite.
type run struct {
	*Config
	suite  *Suite
	tables []*table
	errs   []error
}

// Run runs the selected cases of a suite and judges its targets.
func (s *Suite) Run(c *Config) *Report {
	r := &run{Config: c, suite: s}
	for _, contest := range s.Contests {
		contest.run(r)
	}
	report := &Report{Err: errors.Join(r.errs...)}
	for _, t := range r.tables {
		report.Results = append(report.Results, t.results(s.Name)...)
	}
	for i := range s.Targets {
		report.Verdicts = append(report.Verdicts, s.Targets[i].judge(r.tables))
	}
	return report
}

// failed notes that an implementation has no figures.
func (r *run) failed(where, impl string, err error) {
	r.errs = append(r.errs, fmt.Errorf("%s: %s: %w", where, impl, err))
}

func selected(expr *regexp.Regexp, name string) bool { return expr == nil || expr.MatchString(name) }

func (c *Contest[S]) caseNames() []string {
	names := make([]string, len(c.Cases))
	for i := range c.Cases {
		names[i] = c.Cases[i].Name
	}
	return names
}

func (c *Contest[S]) exact() bool {
	for i := range c.Cases {
		if !c.Cases[i].Exact {
			return false
		}
	}
	return true
}

// entrant is an implementation that has been set up.
type entrant[S any] struct {
	name    string
	subject S
}

func (c *Contest[S]) run(r *run) {
	var cases []*Case[S]
	references := map[string]bool{}
	for i := range c.Cases {
		if selected(r.Case, c.Cases[i].Name) {
			cases = append(cases, &c.Cases[i])
			references[c.Cases[i].Reference] = true
		}
	}
	if len(cases) == 0 {
		return
	}
	var entrants []*entrant[S]
	for _, impl := range c.Impls {
		if !selected(r.Impl, impl.Name) && !references[impl.Name] {
			continue
		}
		subject, err := impl.Open(&r.Env)
		if err != nil {
			r.failed(cases[0].Name, impl.Name, err)
			continue
		}
		if closer, ok := any(subject).(interface{ Close() }); ok {
			defer closer.Close()
		}
		entrants = append(entrants, &entrant[S]{impl.Name, subject})
	}
	for _, one := range cases {
		t := one.run(r, entrants)
		r.tables = append(r.tables, t)
		if _, err := io.WriteString(r.Out, t.String()); err != nil {
			r.errs = append(r.errs, err)
		}
	}
}

// run runs all rounds of a case.
func (c *Case[S]) run(r *run, entrants []*entrant[S]) *table {
	procs, rounds := max(1, c.Procs), max(1, r.Rounds)
	if c.Heavy {
		rounds = max(1, rounds/2)
	}
	if c.Exact {
		rounds = 1
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	measure := c.Begin(&r.Env)
	runtime.GC()

	samples := map[string]map[string][]float64{}
	out := map[string]bool{}
	for number := range rounds {
		figures := map[string]Figures{}
		for i := range entrants {
			e := entrants[(i+number)%len(entrants)]
			if out[e.name] {
				continue
			}
			f, err := measure(e.subject, &Round{Env: &r.Env, Number: number, Procs: procs, Duration: r.Duration})
			if err == nil {
				err = f.check()
			}
			if err != nil {
				r.failed(c.Name, e.name, err)
				out[e.name] = true
				delete(samples, e.name)
				continue
			}
			figures[e.name] = f
		}
		zero, ok := figures[c.Reference]
		if c.Reference != "" && !ok {
			break // already noted; without it the others say nothing
		}
		for impl, f := range figures {
			if samples[impl] == nil {
				samples[impl] = map[string][]float64{}
			}
			for metric, v := range f {
				if impl != c.Reference {
					v -= zero[metric]
				}
				samples[impl][metric] = append(samples[impl][metric], v)
			}
		}
	}

	t := &table{name: c.Name, ratio: c.Ratio, reference: c.Reference, figures: map[string]Figures{}}
	for _, e := range entrants {
		if out[e.name] || c.Reference != "" && out[c.Reference] {
			continue
		}
		t.impls = append(t.impls, e.name)
		t.figures[e.name] = Figures{}
		for metric, values := range samples[e.name] {
			t.figures[e.name][metric] = rounded(metric, median(values))
		}
	}
	return t
}

// check returns an error unless every figure is finite and of a known metric.
func (f Figures) check() error {
	for metric, v := range f {
		if _, ok := unit(metric); !ok {
			return fmt.Errorf("metric %q is not in Metrics", metric)
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s is %v", metric, v)
		}
	}
	return nil
}

// median returns the middle of the values, or the mean of the two in the
// middle. It sorts them.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// rounded removes from counts what the runtime and the runner allocate beside
// the operations: a handful of objects in a round of a hundred thousand.
func rounded(metric string, v float64) float64 {
	switch metric {
	case "allocs", "objects_per_key":
		v = math.Round(v*100) / 100
	case "bytes", "bytes_per_key":
		v = math.Round(v*10) / 10
	}
	return v + 0 // no negative zero
}
