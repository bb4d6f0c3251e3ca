package middlewaretest

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The tables in the package comment are the checks, in their order, with their
// sources.
func TestDocumentationListsEveryCheck(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(text), "\n// # Checks of a middleware\n")
	handlers, rest, _ := strings.Cut(tables, "\n// # Checks of a transport\n")
	transports, _, _ := strings.Cut(rest, "\n// # Behavior\n")
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
}
