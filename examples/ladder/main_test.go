package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/internal/memnet"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		args   []string
		stderr string
	}{
		{"flag", []string{"-x"}, "ladder: flag provided but not defined: -x\n"},
		{"value", []string{"-duration", "long"}, "ladder: invalid value \"long\" for flag -duration: parse error\n"},
		{"argument", []string{"limit"}, "ladder: argument is \"limit\", want flags only\n"},
		{"short", []string{"-rungs", "limit,balance", "-duration", "5s"}, "ladder: Duration is 5s, want at least 16s (limit 9s + balance 7s)\n"},
		{"long", []string{"-duration", "24h"}, "ladder: Duration is 24h0m0s, want at most 1h0m0s\n"},
		{"rung", []string{"-rungs", "limit,fly,crawl"}, "ladder: -rungs names \"crawl\", want some of: " + known(rungs()) + "\nladder: -rungs names \"fly\", want some of: " + known(rungs()) + "\n"},
		{"no rung", []string{"-rungs", ""}, "ladder: -rungs names \"\", want some of: " + known(rungs()) + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			if got := run(t.Context(), tt.args, &stdout, &stderr); got != exitUsage || stderr.String() != tt.stderr || stdout.Len() > 0 {
				t.Errorf("got status %d, %q, %q; want %d, nothing, %q", got, &stdout, &stderr, exitUsage, tt.stderr)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if got := run(t.Context(), []string{"-h"}, &stdout, &stderr); got != exitOK || stderr.Len() > 0 {
		t.Errorf("got status %d, %q; want %d", got, &stderr, exitOK)
	}
	for _, want := range []string{"-duration time", "-json file", "-rungs names", "(default a tenth more than they need)", "rung limit, at least 9s"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, &stdout)
		}
	}
}

// The chain of each rung is in order, and -explain shows it.
func TestExplain(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if got := run(t.Context(), []string{"-explain"}, &stdout, &stderr); got != exitOK || stderr.Len() > 0 {
		t.Errorf("got status %d, %q; want %d", got, &stderr, exitOK)
	}
	for _, r := range rungs() {
		handler, err := r.Handler(true)
		if err != nil {
			t.Fatal(err)
		}
		if err := uprung.Vet(handler).Err(); err != nil {
			t.Errorf("rung %s: %v", r.Name, err)
		}
		if want := "rung " + r.Name + "\n\n" + uprung.Explain(handler); !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &stdout)
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	if got := run(ctx, nil, &stdout, &stderr); got != exitFailed || stderr.String() != "ladder: interrupted\n" {
		t.Errorf("got status %d, %q; want %d, interrupted", got, &stderr, exitFailed)
	}
}

func TestJSONThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	got := run(t.Context(), []string{"-json", filepath.Join(t.TempDir(), "no", "file")}, &stdout, &stderr)
	if got != exitFailed || !strings.HasPrefix(stderr.String(), "ladder: open ") || stdout.Len() > 0 {
		t.Errorf("got status %d, %q, %q; want %d before anything is measured", got, &stdout, &stderr, exitFailed)
	}
}

// parsed returns a command that runs in the bubble of its caller.
func parsed(t *testing.T, all []*ladder.Rung, args ...string) *command {
	t.Helper()
	c, err := parse(args, all, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	network := &memnet.Network{}
	c.Listen = func() (net.Listener, error) { return network.Listen(), nil }
	c.Dial = network.DialContext
	return c
}

// Every rung keeps its promises, where no other program delays it.
func TestPromises(t *testing.T) {
	t.Parallel()
	for _, rung := range rungs() {
		t.Run(rung.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "report.json")
				c := parsed(t, rungs(), "-check", "-json", file, "-duration", rung.Least().String(), "-rungs", rung.Name)
				var stdout bytes.Buffer
				start := time.Now()
				if err := c.climb(t.Context(), &stdout); err != nil {
					t.Errorf("%v\n%s", err, &stdout)
				}
				if took := time.Since(start); took > rung.Least() {
					t.Errorf("took %v, want at most %v", took, rung.Least())
				}
				for _, want := range []string{"climbing for at most", "without ", "with ", "kept\n", rung.Name + ": "} {
					if !strings.Contains(stdout.String(), want) {
						t.Errorf("output lacks %q:\n%s", want, &stdout)
					}
				}
				report, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				var entries []map[string]any
				if err := json.Unmarshal(report, &entries); err != nil || len(entries) != len(rung.Promises) {
					t.Fatalf("report is %s, %v; want %d entries", report, err, len(rung.Promises))
				}
				for _, e := range entries {
					for _, field := range []string{"name", "metric", "better", "before", "after", "factor", "ok", "want"} {
						if _, ok := e[field]; !ok {
							t.Errorf("entry lacks %q: %v", field, e)
						}
					}
					if len(e) != 8 || e["name"] != rung.Name || e["ok"] != true {
						t.Errorf("entry is %v", e)
					}
				}
			})
		})
	}
}

// Without the limiter in its second half, the rung fails, and -check says so.
func TestCheckNamesWhatWasMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := limit()
		handler := r.Handler
		r.Handler = func(bool) (http.Handler, error) { return handler(false) }
		var stdout bytes.Buffer
		err := parsed(t, []*ladder.Rung{r}, "-check", "-duration", "10s").climb(t.Context(), &stdout)
		if err == nil {
			t.Fatalf("no error:\n%s", &stdout)
		}
		for _, want := range []string{
			"ladder: rung limit missed: p99_ms_of_others went from 12", "want factor <= 0.3",
			"ladder: rung limit missed: goodput_ratio_of_others went from 0.", "want after >= 0.95",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error lacks %q: %v", want, err)
			}
		}
		if !strings.Contains(stdout.String(), "MISSED") {
			t.Errorf("table lacks MISSED:\n%s", &stdout)
		}
	})
}

// Over real connections and in real time, briefly: a server alone, and some of which
// one is killed.
func TestOverLoopback(t *testing.T) {
	t.Parallel()
	for _, r := range []*ladder.Rung{limit(), failure()} {
		t.Run(r.Name, func(t *testing.T) { // one at a time
			r.Window = time.Second
			c := ladder.Config{Rungs: []*ladder.Rung{r}, Duration: r.Least(), Seed: 1}
			outcomes, err := c.Climb(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// A machine on which the generator itself comes too late proves nothing about
			// the technique.
			const busy = 100 * time.Millisecond
			o := outcomes[0]
			lateness := max(o.Before.Lateness, o.After.Lateness)
			for _, e := range o.Entries {
				t.Logf("%+v, requests up to %v late", e, lateness)
				if !e.OK && lateness < busy {
					t.Errorf("%s is %.4g, was %.4g, want %s", e.Metric, e.After, e.Before, e.Want)
				}
			}
			if o.Before.Offered == 0 || o.Before.Offered != o.After.Offered {
				t.Errorf("%d requests were offered, then %d, want the same", o.Before.Offered, o.After.Offered)
			}
		})
	}
}
