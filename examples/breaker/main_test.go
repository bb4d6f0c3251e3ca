package main

import (
	"fmt"
	"strings"
	"testing"
)

// With a breaker the server gets twenty calls and a few probes, all others fail at once,
// and the end of the outage is noticed soon.
func TestOutage(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	without, with, ok := strings.Cut(out.String(), "with a breaker\n")
	if !ok {
		t.Fatalf("output is\n%s", out.String())
	}
	figures := func(part string) (got, refused, recovery int) {
		lines := strings.Split(strings.TrimSpace(part), "\n")
		last := strings.TrimSpace(lines[len(lines)-1])
		if _, err := fmt.Sscanf(last, "the server got %d calls while it failed, %d failed at once; %d ms until it was well again", &got, &refused, &recovery); err != nil {
			t.Fatalf("line is %q: %v", last, err)
		}
		return got, refused, recovery
	}
	if got, refused, _ := figures(without); got < 30 || refused != 0 {
		t.Errorf("without a breaker the server got %d calls, and %d were refused:\n%s", got, refused, out.String())
	}
	if got, refused, recovery := figures(with); got < 20 || got > 29 || refused < 30 || recovery > 2000 {
		t.Errorf("with a breaker the server got %d calls, %d were refused, and it took %d ms:\n%s", got, refused, recovery, out.String())
	}
	for _, line := range []string{"closed -> open: failures", "open -> half-open: open time over"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no line %q in\n%s", line, out.String())
		}
	}
}
