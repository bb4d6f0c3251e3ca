package main

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
)

// Everybody reads what was written, wherever.
func TestReadsFollowWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		if err := run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile(`^wrote 1 at db-1
read 1 at db-1
read 1 at db-[23]
wrote 2 at db-2
read 2 at db-[23]
$`)
		if !want.MatchString(out.String()) {
			t.Errorf("got\n%s", &out)
		}
	})
}
