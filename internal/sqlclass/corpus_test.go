package sqlclass

import (
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/generated.txt anew")

// The statements of the corpus stand on a line each, after a label and a tab; line
// ends within them are written as their symbols. The labels are the classes, or
// "effect" for whatever is no read.
var (
	escapes   = strings.NewReplacer("\n", "␤", "\r", "␍", "\t", "␉")
	unescapes = strings.NewReplacer("␤", "\n", "␍", "\r", "␉", "\t")
)

type sample struct{ label, query string }

func corpus(t testing.TB, file string) []sample {
	t.Helper()
	text, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var samples []sample
	for line := range strings.Lines(string(text)) {
		label, query, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			t.Fatalf("%s: %q has no label", file, line)
		}
		samples = append(samples, sample{label, unescapes.Replace(query)})
	}
	return samples
}

// generate writes the statements of the grammar, without two of the same.
func generate() string {
	g := &grammar{Rand: rand.New(rand.NewPCG(1, 2))}
	seen := make(map[string]bool)
	var b strings.Builder
	for _, kind := range []struct {
		label string
		count int
		make  func() string
	}{{"read", 1300, g.read}, {"effect", 900, g.write}} {
		for n := 0; n < kind.count; {
			query := kind.make()
			if seen[query] || len(query) > 2000 {
				continue
			}
			seen[query] = true
			n++
			b.WriteString(kind.label + "\t" + escapes.Replace(query) + "\n")
		}
	}
	return b.String()
}

func TestTheCorpusIsThatOfTheGrammar(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile("testdata/generated.txt", []byte(generate()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile("testdata/generated.txt"); err != nil || string(text) != generate() {
		t.Errorf("testdata/generated.txt is not what the grammar writes (%v); -update writes it", err)
	}
}

// Every statement is what its label says: reads are not sent to the primary
// without need, and nothing else is taken for a read.
func TestCorpus(t *testing.T) {
	t.Parallel()
	for file, d := range map[string]Dialect{"listed.txt": PostgreSQL, "generated.txt": PostgreSQL, "mysql.txt": MySQL} {
		for _, s := range corpus(t, file) {
			got := Classify(d, s.query)
			if s.label == "effect" && got.Class != Read || got.Class.String() == s.label {
				continue
			}
			t.Errorf("%s: %s\n\tis %v by %v, want %s", file, s.query, got.Class, got.Reason, s.label)
		}
	}
}
