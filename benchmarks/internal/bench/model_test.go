package bench

import (
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAsked is the test of the models of TestModel: two minutes pass, in one case.
func TestAsked(t *testing.T) {
	q, asked := Asked()
	if !asked {
		t.Skip("nobody asks: TestModel does")
	}
	if q.Impl == "silent" {
		return
	}
	if q.Case != "minutes" {
		t.Fatalf("case is %q, want minutes", q.Case)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		time.Sleep(2 * time.Minute)
		took := float64(time.Since(start)) / float64(time.Millisecond)
		f := Figures{"p50_ms": took, "amplification": float64(q.Seed) + float64(q.Size(100))/1000}
		if q.Quick {
			f["p99_ms"] = took + 1
		}
		if q.Impl == "wrong" {
			f["p50_ms"] = math.NaN()
		}
		t.Log("figures are printed")
		if err := q.Answer(f); err != nil {
			t.Fatal(err)
		}
	})
}

func TestModel(t *testing.T) {
	m := &Model{Package: "github.com/uprung/uprung/benchmarks/internal/bench", Test: "TestAsked"}
	s := &Suite{Name: "s", Contests: []Runnable{m.Contest("p50_ms", []string{"minutes"}, []string{Ours, "silent", "wrong"})}}
	if !s.Exact() {
		t.Error("Exact() is false of a model")
	}
	report := s.Run(&Config{Env: Env{Seed: 7, Shrink: 2, Quick: true}, Rounds: 3, Out: io.Discard})
	for metric, want := range map[string]float64{"p50_ms": 120_000, "p99_ms": 120_001, "amplification": 7.05} {
		if got := value(t, report, Ours, metric); got != want {
			t.Errorf("%s is %v, want %v", metric, got, want)
		}
	}
	if len(report.Results) != 3 {
		t.Errorf("results are %v, want 3 of %s", report.Results, Ours)
	}
	for _, want := range []string{"silent: TestAsked: no answer", "wrong: TestAsked: exit status 1: ", "p50_ms is NaN"} {
		if report.Err == nil || !strings.Contains(report.Err.Error(), want) {
			t.Errorf("Err is %v, want it to contain %q", report.Err, want)
		}
	}
	if m.dir != "" || m.users != 0 {
		t.Errorf("%d implementations are open in %q after the run", m.users, m.dir)
	}
}

func TestModelWithoutTest(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	m := &Model{Package: "github.com/uprung/uprung/benchmarks/nosuch", Test: "TestAsked"}
	s := &Suite{Contests: []Runnable{m.Contest("p50_ms", []string{"c"}, []string{Ours})}}
	report := s.Run(&Config{Out: io.Discard})
	if report.Err == nil || !strings.Contains(report.Err.Error(), "benchmarks/nosuch") || len(report.Results) != 0 {
		t.Errorf("a model without a package gives %v, %v, want an error that names it", report.Results, report.Err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind are %v, %v", left, err)
	}
}
