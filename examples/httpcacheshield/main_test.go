package main

import (
	"strings"
	"testing"
)

func TestOriginMakesEachPageOnce(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := run(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if want := "all nodes: 100 requests for 25 pages, the origin has made 25"; lines[0] != want {
		t.Errorf("%q, want %q", lines[0], want)
	}
	// What belongs to the dead one is made once for each of the three others, and not more.
	if want := "the first is dead: 75 requests for 25 pages, the origin has made "; !strings.HasPrefix(lines[1], want) || strings.HasSuffix(lines[1], " 75") {
		t.Errorf("%q", lines[1])
	}
}
