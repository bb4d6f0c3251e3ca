package main

import (
	"strings"
	"testing"
)

func TestCallersSeeNothing(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "300 requests, 0 failed;") {
		t.Errorf("output is\n%s", &out)
	}
	for _, want := range []string{"deadline", "retry", "balance", "breaker", "throttle", "concurrency"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the stack lacks %q:\n%s", want, &out)
		}
	}
}
