package main

import (
	"strings"
	"testing"
	"testing/synctest"
)

func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		if err := run(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		const want = `after a hundred callers:                 Ada    queries so far: 2
renamed, and read here:                  Lovelace queries so far: 3
and there:                               Lovelace queries so far: 3
without the database:                    Lovelace queries so far: 4
`
		if out.String() != want {
			t.Errorf("got\n%s\nwant\n%s", &out, want)
		}
	})
}
