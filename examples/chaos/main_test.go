package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheStackSurvivesTheDay(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	var plain, with [2]int
	lines := strings.Split(out.String(), "\n")
	if _, err := fmt.Sscanf(lines[0], "with nothing: %d of %d", &plain[0], &plain[1]); err != nil {
		t.Fatalf("%v:\n%s", err, &out)
	}
	if _, err := fmt.Sscanf(lines[1], "with client.NewTransport: %d of %d", &with[0], &with[1]); err != nil {
		t.Fatalf("%v:\n%s", err, &out)
	}
	if plain[0] < plain[1]/20 || with[0] > with[1]/50 {
		t.Errorf("%d of %d failed with nothing, and %d of %d with the stack:\n%s", plain[0], plain[1], with[0], with[1], &out)
	}
	for _, fault := range []string{"down", "fails", "slow"} {
		if !strings.Contains(out.String(), "fault "+fault+": injected ") || strings.Contains(out.String(), "fault "+fault+": injected 0 ") {
			t.Errorf("fault %s was not injected:\n%s", fault, &out)
		}
	}
}
