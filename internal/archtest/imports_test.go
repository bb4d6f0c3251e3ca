package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/uprung/uprung"

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath   string
	Standard     bool
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// list runs go list on the whole module.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// room is the place of one package in the house.
type room struct {
	floor   int
	beside  []string // packages of the same floor that it may import
	foreign []string // modules that it may import
}

const (
	xtime     = "golang.org/x/time"
	goredis   = "github.com/redis/rueidis"
	grpc      = "google.golang.org/grpc"
	xxhash    = "github.com/cespare/xxhash/v2"
	lru       = "github.com/hashicorp/golang-lru/v2"
	gobreaker = "github.com/sony/gobreaker/v2"
	client    = "github.com/prometheus/client_golang"
	protobuf  = "google.golang.org/protobuf"
	compress  = "github.com/klauspost/compress"
)

// house is the picture: every package of the module outside internal and
// examples has a room, whether it is built yet or not. Leaves, called
// <foreign><noun> under their parent, are derived by roomOf.
var house = map[string]room{
	"":               {floor: 0},
	"key":            {floor: 0},
	"middlewaretest": {floor: 0},

	"ratelimit": {floor: 1, foreign: []string{xtime}},
	"cache":     {floor: 1, foreign: []string{lru}},
	"shard":     {floor: 1, foreign: []string{xxhash}},
	"health":    {floor: 1},
	"breaker":   {floor: 1, foreign: []string{gobreaker, lru}},
	"retry":     {floor: 1},
	"deadline":  {floor: 1},
	"chaos":     {floor: 1},
	"lb/pick":   {floor: 1, foreign: []string{xxhash}},

	"lb":              {floor: 2},
	"replicate":       {floor: 2, foreign: []string{xxhash}},
	"cache/httpcache": {floor: 2},
	"cache/grpccache": {floor: 2, foreign: []string{grpc, protobuf}},
	// A codec that compresses comes with the store for which that is worth it.
	"cache/rediscache": {floor: 2, foreign: []string{goredis, compress}},

	"client": {floor: 3},
	"prom":   {floor: 3, foreign: []string{client}},
}

// above lists what may be imported of the floors below, for packages to which
// not all of it is open.
var above = map[string][]string{
	"lb":        {"health", "shard", "lb/pick"},
	"replicate": {"health", "lb/pick"},
	"prom":      {},
}

// roomOf returns the room of a package by its path within the module.
func roomOf(name string) (room, bool) {
	if r, ok := house[name]; ok {
		return r, true
	}
	switch first, _, _ := strings.Cut(name, "/"); first {
	case "internal":
		if name == "internal/grpcx" || name == "internal/grpctest" {
			return room{floor: 0, foreign: []string{grpc}}, true // for the leaves alone
		}
		if name == "internal/redisx" {
			return room{floor: 2, foreign: []string{goredis}}, true // likewise, and with a breaker
		}
		return room{floor: 0}, true
	case "examples":
		return room{floor: 4}, true
	}
	parent, leaf := path.Split(name)
	parent = path.Clean(parent)
	if _, ok := house[parent]; !ok {
		return room{}, false
	}
	switch {
	case strings.HasPrefix(leaf, "grpc"):
		return room{floor: 2, foreign: []string{grpc}}, true
	case strings.HasPrefix(leaf, "redis"):
		return room{floor: 2, foreign: []string{goredis}}, true
	case strings.HasSuffix(leaf, "test"):
		return room{floor: 2}, true
	}
	return room{}, false
}

// mayImport reports whether one package of the module may import another.
func mayImport(from, to string) bool {
	fromRoom, ok := roomOf(from)
	if !ok {
		return false
	}
	toRoom, ok := roomOf(to)
	if !ok || strings.HasSuffix(to, "test") && to != "middlewaretest" {
		return false
	}
	if to == "internal/grpcx" {
		return strings.HasPrefix(path.Base(from), "grpc")
	}
	if to == "internal/redisx" {
		return strings.HasPrefix(path.Base(from), "redis")
	}
	if strings.HasPrefix(to, "internal/") {
		return from != "" && from != "key" // the vocabulary stands alone
	}
	if to == "" || to == "key" {
		return from != "" && from != "key"
	}
	if allowed, restricted := above[from]; restricted {
		return slices.Contains(allowed, to)
	}
	if _, built := house[from]; !built && to == path.Dir(from) {
		return true // a leaf stands on its parent, whatever floor that is on
	}
	return toRoom.floor < fromRoom.floor || slices.Contains(fromRoom.beside, to)
}

func TestEveryPackageHasARoom(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		name := within(p.ImportPath)
		if _, ok := roomOf(name); !ok {
			t.Errorf("%s is not in the picture", p.ImportPath)
		}
		switch path.Base(name) {
		case "util", "utils", "common", "types", "pkg", "models", "helpers", "misc":
			t.Errorf("%s is a catch-all", p.ImportPath)
		}
	}
}

func TestArrowsGoDown(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		from := within(p.ImportPath)
		for _, imported := range p.Imports {
			if !ours(imported) {
				continue
			}
			if to := within(imported); !mayImport(from, to) {
				t.Errorf("%q imports %q: not in the picture", from, to)
			}
		}
	}
}

// The guard itself can fail: these edges are forbidden, and those allowed.
func TestThePictureIsTheDesigns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"ratelimit", "key", true},
		{"ratelimit", "", true},
		{"ratelimit", "internal/httpx", true},
		{"ratelimit", "cache", false},
		{"cache", "ratelimit", false},
		{"lb", "health", true},
		{"lb", "ratelimit", false},
		{"health", "lb", false},
		{"replicate", "lb", false},
		{"replicate", "lb/pick", true},
		{"ratelimit/redislimit", "ratelimit", true},
		{"ratelimit/redislimit", "ratelimit/grpclimit", false},
		{"ratelimit/redislimit", "internal/redisx", true},
		{"ratelimit", "internal/redisx", false},
		{"internal/redisx", "breaker", true},
		{"prom", "", true},
		{"prom", "ratelimit", false},
		{"client", "lb", true},
		{"examples/ladder", "client", true},
		{"", "key", false},
		{"", "internal/httpx", false},
		{"internal/ladder", "ratelimit", false},
		{"ratelimit", "middlewaretest", true},
		{"lb", "unknown", false},
	} {
		if got := mayImport(tt.from, tt.to); got != tt.want {
			t.Errorf("mayImport(%q, %q) = %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestForeignImports(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		name := within(p.ImportPath)
		r, _ := roomOf(name)
		check := func(kind string, imports []string, allowed []string) {
			for _, imported := range imports {
				if ours(imported) || standard(imported) {
					continue
				}
				if !slices.ContainsFunc(allowed, func(module string) bool {
					return imported == module || strings.HasPrefix(imported, module+"/")
				}) {
					t.Errorf("%s: %s %q, may import %v", name, kind, imported, allowed)
				}
			}
		}
		if !strings.HasPrefix(name, "examples/") {
			check("imports", p.Imports, r.foreign)
		}
		// Tests may import what the package itself imports, so that a user's go mod
		// tidy fetches nothing more.
		check("test imports", p.TestImports, p.Imports)
		check("test imports", p.XTestImports, p.Imports)
	}
}

// A file whose name does not end in _test.go is compiled into every program,
// and package testing with it.
func TestNoTestingOutsideTests(t *testing.T) {
	t.Parallel()
	for _, p := range list(t) {
		if strings.HasSuffix(p.ImportPath, "test") {
			continue
		}
		for _, imported := range p.Imports {
			if imported == "testing" || strings.HasPrefix(imported, "testing/") {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
		for _, file := range p.GoFiles {
			if strings.Contains(file, "_test") {
				t.Errorf("%s: %s looks like a test and is none", p.ImportPath, file)
			}
		}
	}
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func within(importPath string) string {
	return strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
}

// standard reports whether a path belongs to the standard library: its first
// element has no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}
