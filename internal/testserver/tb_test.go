package testserver

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// A recorder is a TB that notes how a constructor ended the test.
type recorder struct {
	testing.TB
	fatal, skip string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fatal = fmt.Sprintf(format, args...)
	panic(r)
}

func (r *recorder) Skipf(format string, args ...any) {
	r.skip = fmt.Sprintf(format, args...)
	panic(r)
}

func findIn(t *testing.T, names []string, dirs ...string) (path string, r *recorder) {
	t.Helper()
	r = &recorder{TB: t}
	defer func() {
		if p := recover(); p != nil && p != r {
			panic(p)
		}
	}()
	return find(r, "apt-get install it", names, dirs...), r
}

func TestAMissingBinarySkips(t *testing.T) {
	t.Setenv(RequireEnv, "")
	if _, r := findIn(t, []string{"no-such-server"}); !strings.Contains(r.skip, "apt-get install it") {
		t.Errorf("skip says %q, fatal %q; want a skip with what to install", r.skip, r.fatal)
	}
	t.Setenv(RequireEnv, "1")
	if _, r := findIn(t, []string{"no-such-server"}); !strings.Contains(r.fatal, "apt-get install it") {
		t.Errorf("skip says %q, fatal %q; want a failure with what to install", r.skip, r.fatal)
	}
}

func TestTheNewestVersionIsFound(t *testing.T) {
	t.Setenv("PATH", "")
	dir := t.TempDir()
	for _, version := range []string{"9.6", "15", "17"} {
		if err := os.MkdirAll(dir+"/"+version+"/bin", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+version+"/bin/server", nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, r := findIn(t, []string{"absent", "server"}, dir+"/*/bin")
	if want := dir + "/17/bin/server"; got != want {
		t.Errorf("found %q, want %q (%s)", got, want, r.skip)
	}
}

func TestRunOutsideOfTests(t *testing.T) {
	t.Parallel()
	var order []string
	var dir string
	err := Run(func(tb TB) {
		dir = tb.TempDir()
		tb.Cleanup(func() { order = append(order, "first") })
		tb.Cleanup(func() {
			_, err := os.Stat(dir)
			order = append(order, "second", fmt.Sprint(err))
		})
		tb.Errorf("one")
		tb.Fatalf("two")
		t.Error("Fatalf returns")
	})
	if want := "testserver: one\ntestserver: two"; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %q", err, want)
	}
	if want := []string{"second", "<nil>", "first"}; !slices.Equal(order, want) {
		t.Errorf("cleanups ran %q, want %q", order, want)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if err := Run(func(tb TB) { tb.Skipf("no %s", "x") }); !errors.Is(err, ErrMissing) {
		t.Errorf("a skip gives %v, want ErrMissing", err)
	}
	defer func() {
		if p := recover(); p != "boom" {
			t.Errorf("recovered %v, want the panic of the function", p)
		}
	}()
	Run(func(TB) { panic("boom") })
}
