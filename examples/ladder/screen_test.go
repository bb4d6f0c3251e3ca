package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung/internal/ladder"
)

// half reports four times, as the engine does: twice a second, for two seconds.
func half(s *screen, with bool) {
	for i := range 4 {
		s.progress(ladder.Progress{Rung: limit(), With: with, Elapsed: time.Duration(i+1) * 500 * time.Millisecond})
	}
}

func TestScreenOfALog(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := newScreen(&out)
	half(s, false)
	half(s, true)
	s.end()
	// Half of the reports, one a second.
	if got := strings.Count(out.String(), "\n"); got != 5 || strings.Contains(out.String(), "\x1b") || !strings.HasSuffix(out.String(), "\n\n") {
		t.Errorf("got %d lines, want 4 and an empty one:\n%q", got, out.String())
	}
}

func TestScreenOfATerminal(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &screen{out: &out, terminal: true}
	half(s, false)
	half(s, true)
	s.end()
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 4 || strings.Count(lines[0], eraseLine) != 4 || strings.Count(lines[1], eraseLine) != 4 {
		t.Errorf("got %q, want a line for each half, written four times, and an empty one", lines)
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if newScreen(f).terminal {
		t.Error("a file is taken for a terminal")
	}
}
