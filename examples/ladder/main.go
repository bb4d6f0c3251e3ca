// Command ladder climbs the ladder: each technique of the library is measured
// under the fault that it exists for, first without it and then with it, and a
// table at the end says what it came to.
//
//	go run ./examples/ladder
//
// Everything is in one process: a generator sends HTTP requests over the loopback
// interface, at instants that are fixed in advance, to servers of limited capacity.
// They sleep instead of working, so that two cores are enough.
//
// Each rung is one file of this directory and promises a figure. -check makes a
// broken promise the exit status 1; usage errors are 2. -http 127.0.0.1:8080 serves a page
// that shows the climb live, or one rung on which the technique and faults are switched.
// -explain prints the chain of each rung instead, with its effective settings. -json FILE
// writes an array with one object for each promise:
//
//	name    the rung
//	metric  what was measured, with its unit, such as p99_ms_of_others
//	better  "lower" or "higher"
//	before  the figure without the technique
//	after   the figure with it
//	factor  after/before
//	ok      whether the promise was kept
//	want    the promise, such as "factor <= 0.3" or "after >= 0.95"
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/ladder"
)

// rungs are all there are, from the ground up.
func rungs() []*ladder.Rung {
	return []*ladder.Rung{
		limit(),
		fleet(""),
		overload(),
		outage(),
		balance(),
		failure(),
		retried(),
		sharded(),
		replicas(),
		cached(),
		stampede(),
		edge(),
		mayhem(),
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The exit statuses.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

// run is the command. It returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c, err := parse(args, rungs(), stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		_, _ = fmt.Fprintln(stderr, err)
		return exitUsage
	}
	switch {
	case c.explain:
		err = explain(stdout, c.Rungs)
	case c.http != "":
		err = c.serveLive(ctx, stdout)
	default:
		err = c.climb(ctx, stdout)
	}
	switch {
	case errors.Is(err, context.Canceled):
		_, _ = fmt.Fprintln(stderr, "ladder: interrupted")
		return exitFailed
	case err != nil:
		_, _ = fmt.Fprintln(stderr, err)
		return exitFailed
	}
	return exitOK
}

// command is what the flags say.
type command struct {
	ladder.Config
	json, http     string
	check, explain bool
}

// parse reads the flags and chooses from the rungs. Its error is flag.ErrHelp if
// help was all that was asked for.
func parse(args []string, all []*ladder.Rung, stdout io.Writer) (*command, error) {
	c := &command{}
	flags := flag.NewFlagSet("ladder", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints the error, and usage the help
	flags.DurationVar(&c.Duration, "duration", 0, "`time` for all rungs together (default a tenth more than they need)")
	flags.Uint64Var(&c.Seed, "seed", 1, "seed of the traffic")
	flags.StringVar(&c.json, "json", "", "write the figures to this `file`")
	flags.StringVar(&c.http, "http", "", "serve a page that shows it live, at this `address` of the loopback interface")
	flags.BoolVar(&c.check, "check", false, "fail if a rung breaks a promise")
	flags.BoolVar(&c.explain, "explain", false, "print the chain of each rung, and measure nothing")
	redis := flags.String("redis", "", "put the Redis or Valkey at this `address` under what can use it: rung fleet")
	names := flags.String("rungs", known(all), "`names` of the rungs to climb, with commas")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(flags, all, stdout)
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("ladder: %w", err)
	case flags.NArg() > 0:
		return nil, fmt.Errorf("ladder: argument is %q, want flags only", flags.Arg(0))
	}
	if *redis != "" {
		all = slices.Clone(all)
		for i, r := range all {
			if r.Name == fleet("").Name {
				all[i] = fleet(*redis)
			}
		}
	}
	if c.Rungs, err = choose(*names, all); err != nil {
		return nil, err
	}
	if c.Duration == 0 {
		for _, r := range c.Rungs {
			c.Duration += r.Least() * 11 / 10
		}
	}
	return c, c.Validate()
}

func usage(flags *flag.FlagSet, all []*ladder.Rung, w io.Writer) {
	_, _ = fmt.Fprintln(w, "usage of ladder:")
	flags.SetOutput(w)
	flags.PrintDefaults()
	for _, r := range all {
		_, _ = fmt.Fprintf(w, "rung %s, at least %v: %s\n", r.Name, r.Least(), r.Story)
	}
}

// known lists the names of rungs.
func known(all []*ladder.Rung) string {
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	return strings.Join(names, ",")
}

// choose returns the rungs that a list names, in the order of the ladder.
func choose(list string, all []*ladder.Rung) ([]*ladder.Rung, error) {
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		wanted[strings.TrimSpace(name)] = true
	}
	var chosen []*ladder.Rung
	for _, r := range all {
		if wanted[r.Name] {
			chosen = append(chosen, r)
			delete(wanted, r.Name)
		}
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		errs = append(errs, fmt.Errorf("ladder: -rungs names %q, want some of: %s", name, known(all)))
	}
	return chosen, errors.Join(errs...)
}

// explain prints the chain that each rung sets up with its technique.
func explain(w io.Writer, rungs []*ladder.Rung) error {
	for _, r := range rungs {
		handler, err := r.Handler(true)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "rung %s\n\n%s\n", r.Name, uprung.Explain(handler)); err != nil {
			return err
		}
	}
	return nil
}

// climb measures, prints, and writes the report. Its error names every broken
// promise if they are to be checked.
func (c *command) climb(ctx context.Context, stdout io.Writer) error {
	var report *os.File
	if c.json != "" {
		var err error
		if report, err = os.Create(c.json); err != nil {
			return fmt.Errorf("ladder: %w", err) // before the seconds of measuring
		}
		defer func() { _ = report.Close() }() // after an error; otherwise it is closed below
	}
	screen := newScreen(stdout)
	c.Report = screen.progress
	_, _ = fmt.Fprintf(stdout, "climbing for at most %v: %s\n\n", c.Duration, known(c.Rungs))

	outcomes, err := c.Climb(ctx)
	screen.end()
	if len(outcomes) > 0 {
		err = errors.Join(err, ladder.WriteTable(stdout, outcomes, screen.color))
	}
	if err != nil {
		return err
	}
	if report != nil {
		if err := errors.Join(writeJSON(report, outcomes), report.Close()); err != nil {
			return fmt.Errorf("ladder: %w", err)
		}
	}
	if c.check {
		return broken(outcomes)
	}
	return nil
}

// writeJSON writes the entries of all rungs as one array.
func writeJSON(w io.Writer, outcomes []ladder.Outcome) error {
	var entries []ladder.Entry
	for _, o := range outcomes {
		entries = append(entries, o.Entries...)
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(entries)
}

// broken returns an error that names every promise that was not kept.
func broken(outcomes []ladder.Outcome) error {
	var errs []error
	for _, o := range outcomes {
		for _, e := range o.Entries {
			if !e.OK {
				errs = append(errs, fmt.Errorf("ladder: rung %s missed: %s went from %.4g to %.4g (factor %.3g), want %s",
					e.Name, e.Metric, e.Before, e.After, e.Factor, e.Want))
			}
		}
	}
	return errors.Join(errs...)
}
