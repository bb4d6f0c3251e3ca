package main

import (
	"strings"
	"testing"
)

// Who moves moves to the new store, and the preview is near the ideal.
func TestOnlyTheNewStoreReceives(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	stayed, moved, ok := strings.Cut(out.String(), "a fourth store moves")
	if !ok || strings.Count(stayed, "\n") != 10 {
		t.Fatalf("got\n%s", out.String())
	}
	first, moves, _ := strings.Cut(moved, "\n")
	if !strings.HasSuffix(first, "at best 25 %") {
		t.Errorf("got %q, want 25 %% at best", first)
	}
	for line := range strings.Lines(moves) {
		if !strings.HasSuffix(strings.TrimSpace(line), "-> redis://store4") {
			t.Errorf("%q does not go to the new store", line)
		}
	}
}
