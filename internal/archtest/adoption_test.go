package archtest

import (
	"cmp"
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What one package may add to a program that serves and calls HTTP.
const (
	maxAddedBytes   = 600_000
	maxAddedModules = 2
)

// baseOf names the base of a program, if it is another than base. Nobody adopts replicate
// without a *sql.DB, so that what database/sql weighs is there before. log/slog is taken to
// be there too, as it is where programs with a database log; it is 0.27 MB, without which
// replicate would add 0.64 MB.
var baseOf = map[string]string{"replicate": "basesql"}

// Every program under testdata/adoption is base plus one package, constructed
// and used.
func TestAdoptionCost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	baseSizes := map[string]int64{}
	for _, name := range []string{"base", "basesql"} {
		baseSizes[name], _ = link(t, dir, name)
	}
	programs, err := os.ReadDir("testdata/adoption")
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range programs {
		name := program.Name()
		if baseSizes[name] != 0 {
			continue
		}
		baseSize := baseSizes[cmp.Or(baseOf[name], "base")]
		size, modules := link(t, dir, name)
		added := size - baseSize
		t.Logf("%s adds %.3f MB to %.2f MB, and %d modules", name, float64(added)/1e6, float64(baseSize)/1e6, modules)
		if added > maxAddedBytes {
			t.Errorf("%s adds %d bytes, want at most %d", name, added, maxAddedBytes)
		}
		if modules > maxAddedModules {
			t.Errorf("%s adds %d modules, want at most %d", name, modules, maxAddedModules)
		}
	}
}

// link builds a stripped program, runs it, and returns its size and the number
// of modules in it, this one included.
func link(t *testing.T, dir, name string) (size int64, modules int) {
	t.Helper()
	file := filepath.Join(dir, name)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", file, "./testdata/adoption/"+name)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", name, err, out)
	}
	out, err := exec.CommandContext(t.Context(), file).Output()
	if err != nil || string(out) != "200 hello\n" {
		t.Fatalf("%s prints %q, %v; want 200 hello", name, out, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	linked, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size(), 1 + len(linked.Deps)
}
