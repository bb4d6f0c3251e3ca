package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung/benchmarks/httpcache"
	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/benchmarks/proxy"
	"github.com/uprung/uprung/internal/testserver"
)

func TestMain(m *testing.M) {
	proxy.Child(map[string][]proxy.Handler{"httpcache": httpcache.Handlers()})
	os.Exit(m.Run())
}

// TestEverySuite runs each case with each implementation, on shrunken workloads.
// Tests that change GOMAXPROCS are not parallel.
func TestEverySuite(t *testing.T) {
	for _, s := range suites() {
		t.Run(s.Name, func(t *testing.T) {
			var out strings.Builder
			report := s.Run(&bench.Config{
				Env:      bench.Env{Seed: 1, Shrink: 200},
				Rounds:   2,
				Duration: 100 * time.Microsecond,
				Out:      &out,
			})
			if errors.Is(report.Err, testserver.ErrMissing) && os.Getenv(testserver.RequireEnv) != "1" {
				t.Skip(report.Err)
			}
			if report.Err != nil {
				t.Errorf("Run: %v", report.Err)
			}
			measured := map[string]map[string]int{}
			for _, r := range report.Results {
				if math.IsNaN(r.Value) || math.IsInf(r.Value, 0) || r.Unit == "" {
					t.Errorf("result is %+v, want a finite value with a unit", r)
				}
				if measured[r.Case] == nil {
					measured[r.Case] = map[string]int{}
				}
				measured[r.Case][r.Impl]++
			}
			for _, name := range s.Cases() {
				if len(measured[name]) < 2 || measured[name][bench.Ours] == 0 {
					t.Errorf("%s has figures of %v, want ours and peers", name, measured[name])
				}
				if !strings.Contains(out.String(), "\n"+name) {
					t.Errorf("%s has no table", name)
				}
			}
			for _, v := range report.Verdicts {
				if v.Cases == 0 {
					t.Errorf("target has no figure: %s", v.String())
				}
			}
		})
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run([]string{"-list"}, &out); err != nil {
		t.Fatalf("run(-list): %v", err)
	}
	for _, want := range []string{"ratelimit\n", "  allow/keys=1/cpus=1\n", "  heap/keys=1M\n", "  http/headers=ietf\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("-list does not print %q:\n%s", want, out.String())
		}
	}
}

func TestFlagErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"-suite nosuch", `-suite is "nosuch"`},
		{"", `-suite is ""`},
		{"-suite ratelimit -case [", "-case: "},
		{"-suite ratelimit -impl [", "-impl: "},
		{"-suite ratelimit -rounds -1", "-rounds is -1"},
		{"ratelimit", `argument is "ratelimit"`},
	} {
		var out strings.Builder
		err := run(strings.Fields(tt.args), &out)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("run(%q) = %v, want an error with %q", tt.args, err, tt.want)
		}
	}
}

func TestJSON(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.jsonl")
	var out strings.Builder
	args := []string{"-suite", "ratelimit", "-case", "^deny/keys=1/cpus=1$", "-impl", "^uprung$|^ulule$", "-quick", "-rounds", "1", "-json", name}
	if err := run(args, &out); err != nil {
		t.Fatalf("run(%q): %v", args, err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	impls := map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var got bench.Result
		if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if got.Suite != "ratelimit" || got.Case != "deny/keys=1/cpus=1" || got.Metric == "" || got.Unit == "" {
			t.Errorf("line is %s", lines.Text())
		}
		impls[got.Impl] = true
	}
	if len(impls) != 2 || !impls["uprung"] || !impls["ulule"] {
		t.Errorf("-json has figures of %v, want uprung and ulule", impls)
	}
}
