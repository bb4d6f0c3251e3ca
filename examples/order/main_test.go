package main

import (
	"strings"
	"testing"
)

func TestVetTellsWrongFromRight(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	wrong, right, ok := strings.Cut(out.String(), "The right one")
	if !ok {
		t.Fatalf("got\n%s", out.String())
	}
	for _, rule := range []string{"principal-limit-inside-authn", "address-limit-outside-authn", "reversed-chain"} {
		if !strings.Contains(wrong, rule) || strings.Contains(right, rule) {
			t.Errorf("%s is not told of the wrong chain alone:\n%s", rule, out.String())
		}
	}
	if !strings.Contains(right, "Capacity    65536 (default)") {
		t.Errorf("defaults are not marked:\n%s", right)
	}
}
