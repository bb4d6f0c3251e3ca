package middlewaretest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The tables in the package comment are the checks, in their order, with their
// sources, and those of them that no standard demands.
func TestDocumentationListsEveryCheck(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(text), "\n// # Checks of a middleware\n")
	handlers, rest, _ := strings.Cut(tables, "\n// # Checks of a transport\n")
	transports, rest, _ := strings.Cut(rest, "\n// # Stricter than the standards\n")
	stricter, _, _ := strings.Cut(rest, "\n// # Behavior\n")
	for _, c := range []struct {
		table  string
		checks []check
	}{{handlers, handlerChecks()}, {transports, transportChecks()}} {
		var got, want []string
		for line := range strings.Lines(c.table) {
			if row, ok := strings.CutPrefix(line, "//\t"); ok {
				name, rest, _ := strings.Cut(row, " ")
				source := rest[strings.LastIndex(rest, "  ")+2:]
				got = append(got, name+": "+strings.TrimSpace(source))
			}
		}
		for _, check := range c.checks {
			want = append(want, check.name+": "+check.source)
		}
		if !slices.Equal(got, want) {
			t.Errorf("documented checks:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}

	var listed, own []string
	for line := range strings.Lines(stricter) {
		if row, ok := strings.CutPrefix(line, "//\t"); ok {
			names, _, _ := strings.Cut(row, "  ")
			listed = append(listed, strings.Split(names, ", ")...)
		}
	}
	for _, c := range slices.Concat(handlerChecks(), transportChecks()) {
		if c.source == "this package" || strings.HasSuffix(c.source, ", optional") {
			own = append(own, c.name)
		}
	}
	slices.Sort(listed)
	slices.Sort(own)
	if own = slices.Compact(own); !slices.Equal(listed, own) {
		t.Errorf("documented as stricter: %q, want %q", listed, own)
	}
}
