package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/uprung/uprung/benchmarks/breaker"
	"github.com/uprung/uprung/benchmarks/cache"
	"github.com/uprung/uprung/benchmarks/concurrency"
	"github.com/uprung/uprung/benchmarks/httpcache"
	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/benchmarks/lb"
	"github.com/uprung/uprung/benchmarks/overload"
	"github.com/uprung/uprung/benchmarks/proxy"
	"github.com/uprung/uprung/benchmarks/ratelimit"
	"github.com/uprung/uprung/benchmarks/rediscache"
	"github.com/uprung/uprung/benchmarks/redislimit"
	"github.com/uprung/uprung/benchmarks/replicate"
	"github.com/uprung/uprung/benchmarks/retry"
	"github.com/uprung/uprung/benchmarks/shard"
)

// suites returns all suites, in the order of -list.
func suites() []*bench.Suite {
	return []*bench.Suite{
		ratelimit.Suite(),
		concurrency.Suite(),
		redislimit.Suite(),
		rediscache.Suite(),
		shard.Suite(),
		lb.Suite(),
		lb.SimulationSuite(),
		proxy.Suite(),
		retry.Suite(),
		retry.HedgeSuite(),
		replicate.Suite(),
		cache.HitSuite(),
		cache.Suite(),
		breaker.Suite(),
		overload.Suite(),
		httpcache.Suite(),
	}
}

func main() {
	proxy.Child(map[string][]proxy.Handler{"httpcache": httpcache.Handlers()}) // does not return in a process that a suite starts
	err := run(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

// command is what the flags say.
type command struct {
	bench.Config
	suite, json string
	list, check bool
}

const (
	defaultRounds = 7
	quickRounds   = 3

	defaultDuration = 130 * time.Millisecond
	quickDuration   = 15 * time.Millisecond
)

// parse reads the flags. Its error is flag.ErrHelp if help was all that was
// asked for.
func parse(args []string, out io.Writer) (*command, error) {
	c := &command{Config: bench.Config{Duration: defaultDuration, Out: out}}
	var cases, impls string
	var quick bool
	flags := flag.NewFlagSet("benchmarks", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&c.suite, "suite", "", "run the suite of this `name`")
	flags.BoolVar(&c.list, "list", false, "list suites and their cases")
	flags.StringVar(&c.json, "json", "", "write one line per figure to this `file`")
	flags.StringVar(&cases, "case", "", "run only cases whose name matches this `regexp`")
	flags.StringVar(&impls, "impl", "", "run only implementations whose name matches this `regexp`")
	flags.IntVar(&c.Rounds, "rounds", 0, "number of rounds of each case (default 7, quick 3)")
	flags.BoolVar(&quick, "quick", false, "short rounds: rough figures in half a minute")
	flags.BoolVar(&c.check, "check", false, "fail if a target is missed")
	flags.Uint64Var(&c.Seed, "seed", 1, "seed of random workloads")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("argument is %q, want flags only", flags.Arg(0))
	}
	if quick {
		c.Duration, c.Quick = quickDuration, true
	}
	switch {
	case c.Rounds < 0:
		return nil, fmt.Errorf("-rounds is %d, want > 0", c.Rounds)
	case c.Rounds == 0 && quick:
		c.Rounds = quickRounds
	case c.Rounds == 0:
		c.Rounds = defaultRounds
	}
	var err1, err2 error
	c.Case, err1 = optionalRegexp("-case", cases)
	c.Impl, err2 = optionalRegexp("-impl", impls)
	return c, errors.Join(err1, err2)
}

func optionalRegexp(flag, expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, nil
	}
	compiled, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return compiled, nil
}

func run(args []string, out io.Writer) error {
	c, err := parse(args, out)
	if err != nil {
		return err
	}
	if c.list {
		_, err := io.WriteString(out, list())
		return err
	}
	for _, s := range suites() {
		if s.Name == c.suite {
			return c.measure(s, out)
		}
	}
	return fmt.Errorf("-suite is %q, want one that -list shows", c.suite)
}

// list returns the names of the suites and of their cases.
func list() string {
	var text strings.Builder
	for _, s := range suites() {
		text.WriteString(s.Name + "\n")
		for _, name := range s.Cases() {
			text.WriteString("  " + name + "\n")
		}
	}
	return text.String()
}

// measure runs a suite and reports on it.
func (c *command) measure(s *bench.Suite, out io.Writer) error {
	var file *os.File
	if c.json != "" {
		var err error
		if file, err = os.Create(c.json); err != nil {
			return err // before the minutes of measuring
		}
		defer func() { _ = file.Close() }()
	}
	if _, err := io.WriteString(out, c.head(s)); err != nil {
		return err
	}
	start := time.Now()
	report := s.Run(&c.Config)

	var end strings.Builder
	end.WriteString("\ntargets\n")
	missed := 0
	for _, v := range report.Verdicts {
		if v.Cases == 0 && (c.Case != nil || c.Impl != nil) {
			continue // what it is about was not to be run
		}
		end.WriteString("  " + v.String() + "\n")
		if v.Missed() && !v.Target.Stretch {
			missed++
		}
	}
	fmt.Fprintf(&end, "\ndone in %v\n", time.Since(start).Round(time.Second))
	_, err := io.WriteString(out, end.String())
	err = errors.Join(err, report.Err)
	if file != nil {
		err = errors.Join(err, writeJSON(file, report.Results), file.Close())
	}
	if c.check && missed > 0 {
		err = errors.Join(err, fmt.Errorf("%d targets are missed", missed))
	}
	return err
}

// head says what a reader needs to know to make sense of the figures.
func (c *command) head(s *bench.Suite) string {
	var out strings.Builder
	measured := fmt.Sprintf("median of %d rounds of %v", c.Rounds, c.Duration)
	if s.Exact() {
		measured = "the same figures whenever it is run"
	}
	fmt.Fprintf(&out, "suite %s: %s, seed %d\n", s.Name, measured, c.Seed)
	fmt.Fprintf(&out, "%s %s/%s, %d CPUs, GOMAXPROCS %d unless a case says otherwise\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.GOMAXPROCS(0))
	out.WriteString(s.Workload + "\n")
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			version := m.Version
			if m.Replace != nil {
				version = m.Replace.Path + " " + m.Replace.Version
			}
			fmt.Fprintf(&out, "  %s %s\n", m.Path, version)
		}
	}
	for _, a := range s.Absent {
		fmt.Fprintf(&out, "left out: %s: %s\n", a.Impl, a.Why)
	}
	return out.String()
}

func writeJSON(w io.Writer, results []bench.Result) error {
	buf := bufio.NewWriter(w)
	encoder := json.NewEncoder(buf)
	encoder.SetEscapeHTML(false)
	for _, r := range results {
		if err := encoder.Encode(r); err != nil {
			return err
		}
	}
	return buf.Flush()
}
