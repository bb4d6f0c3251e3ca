package archtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// Each Go block of the README compiles: a whole file as it is, a test file as a
// test, and bare statements in a main function with a mux.
func TestReadmeCompiles(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := goBlock.FindAllSubmatch(readme, -1)
	if len(blocks) == 0 {
		t.Fatal("README.md has no Go block")
	}
	for _, block := range blocks {
		code, name := string(block[1]), "main.go"
		switch {
		case strings.Contains(code, "func Test"):
			name = "main_test.go"
		case !strings.HasPrefix(code, "package "):
			code = program(code)
		}
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		// The overlay puts the file into this module, whose packages it imports.
		target, err := filepath.Abs("testdata/adoption/" + name)
		if err != nil {
			t.Fatal(err)
		}
		overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{target: file}})
		if err != nil {
			t.Fatal(err)
		}
		overlayFile := filepath.Join(dir, "overlay.json")
		if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "go", "vet", "-overlay", overlayFile, "./testdata/adoption")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("this block of README.md does not compile: %v\n%s\n%s", err, out, code)
		}
	}
}

// program wraps statements in a program that imports what they use.
func program(statements string) string {
	imports := ""
	for name, importPath := range map[string]string{
		"log.":       "log",
		"http.":      "net/http",
		"uprung.":    module,
		"key.":       module + "/key",
		"ratelimit.": module + "/ratelimit",
	} {
		if strings.Contains(statements, name) {
			imports += "\t\"" + importPath + "\"\n"
		}
	}
	if !strings.Contains(imports, `"net/http"`) {
		imports += "\t\"net/http\"\n"
	}
	return "package main\n\nimport (\n" + imports + ")\n\nfunc main() {\n\tmux := http.NewServeMux()\n\t_ = mux\n" + statements + "}\n"
}
