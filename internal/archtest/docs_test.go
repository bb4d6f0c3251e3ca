package archtest

import (
	"go/ast"
	"go/build"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Every exported name has a doc comment, and every package that users import
// has a tour in doc.go and a runnable whole-file Example.
func TestEverythingExportedIsDocumented(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		name := within(p.ImportPath)
		if strings.HasPrefix(name, "examples/") {
			continue
		}
		dir := filepath.Join("../..", filepath.FromSlash(name))
		fset, files := parse(t, dir)
		d, err := doc.NewFromFiles(fset, files, p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		if d.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		for _, missing := range undocumented(d) {
			t.Errorf("%s: %s has no doc comment", p.ImportPath, missing)
		}
		if !strings.HasPrefix(name, "internal/") && !runnable(d) {
			t.Errorf("%s has no Example with output", p.ImportPath)
		}
	}
}

// parse parses the files of a package, tests included.
func parse(t *testing.T, dir string) (*token.FileSet, []*ast.File) {
	t.Helper()
	bp, err := build.ImportDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, names := range [][]string{bp.GoFiles, bp.TestGoFiles, bp.XTestGoFiles} {
		for _, name := range names {
			file, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
	}
	return fset, files
}

// undocumented lists the exported names of a package that lack a comment.
func undocumented(d *doc.Package) []string {
	var missing []string
	funcs := func(prefix string, list []*doc.Func) {
		for _, f := range list {
			if f.Doc == "" && !obvious[f.Name] {
				missing = append(missing, prefix+f.Name)
			}
		}
	}
	values := func(list []*doc.Value) {
		for _, v := range list {
			for _, spec := range v.Decl.Specs {
				spec := spec.(*ast.ValueSpec)
				if v.Doc == "" && spec.Doc == nil && spec.Comment == nil && spec.Names[0].IsExported() {
					missing = append(missing, spec.Names[0].Name)
				}
			}
		}
	}
	funcs("", d.Funcs)
	values(d.Consts)
	values(d.Vars)
	for _, typ := range d.Types {
		if typ.Doc == "" {
			missing = append(missing, typ.Name)
		}
		funcs("", typ.Funcs)
		funcs(typ.Name+".", typ.Methods)
		values(typ.Consts)
		values(typ.Vars)
	}
	return missing
}

// obvious are methods of well-known interfaces, on unexported or plain types.
var obvious = map[string]bool{"Unwrap": true, "Layer": true, "Error": true, "String": true}

func runnable(d *doc.Package) bool {
	for _, example := range d.Examples {
		if example.Output != "" {
			return true
		}
	}
	return false
}
