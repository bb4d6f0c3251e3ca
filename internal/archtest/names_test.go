package archtest

import (
	"go/ast"
	"go/doc"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// qualified is a name of another package, such as lb.NewDNS, and no part of a path.
var qualified = regexp.MustCompile(`(?:^|[^\w./"])([a-z]\w*)\.([A-Z]\w*)`)

// What comments name of this library's packages exists: what they show can be pasted.
func TestCommentsNameWhatExists(t *testing.T) {
	t.Parallel()
	exported := make(map[string]map[string]bool) // by the name of the package
	comments := make(map[string]string)          // by the place
	for _, p := range list(t) {
		name := within(p.ImportPath)
		if strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, "internal/") {
			continue
		}
		fset, files := parse(t, filepath.Join("../..", filepath.FromSlash(name)))
		for _, file := range files {
			for _, group := range file.Comments {
				comments[fset.Position(group.Pos()).String()] = group.Text()
			}
		}
		d, err := doc.NewFromFiles(fset, files, p.ImportPath)
		if err != nil {
			t.Fatal(err)
		}
		if exported[d.Name] == nil {
			exported[d.Name] = make(map[string]bool)
		}
		names(d, exported[d.Name])
	}
	for place, text := range comments {
		for _, wrong := range missing(text, exported) {
			t.Errorf("%s: the comment names %s, which does not exist", place, wrong)
		}
	}
	if got := missing("a.B := a.C(a.D) // see b.X, x.a.Y", map[string]map[string]bool{"a": {"B": true}}); strings.Join(got, " ") != "a.C a.D" {
		t.Errorf("missing finds %v, want a.C and a.D", got)
	}
}

// missing lists the names of a text that are qualified by a package and not in it. A
// variable of the text hides the package of that name.
func missing(text string, exported map[string]map[string]bool) []string {
	var wrong []string
	for _, name := range qualified.FindAllStringSubmatch(text, -1) {
		inside, known := exported[name[1]]
		if known && !inside[name[2]] && !regexp.MustCompile(`\b`+name[1]+`(, \w+)? :=`).MatchString(text) {
			wrong = append(wrong, name[1]+"."+name[2])
		}
	}
	return wrong
}

// names adds the exported names at the top of a package to a set.
func names(d *doc.Package, set map[string]bool) {
	values := func(list []*doc.Value) {
		for _, v := range list {
			for _, name := range v.Names {
				set[name] = ast.IsExported(name)
			}
		}
	}
	funcs := func(list []*doc.Func) {
		for _, f := range list {
			set[f.Name] = true
		}
	}
	values(d.Consts)
	values(d.Vars)
	funcs(d.Funcs)
	for _, typ := range d.Types {
		set[typ.Name] = true
		values(typ.Consts)
		values(typ.Vars)
		funcs(typ.Funcs)
	}
}
