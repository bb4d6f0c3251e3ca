package sqlclass

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// quotes are what hides words from PostgreSQL in its default settings, comments
// and dollar quotes aside.
var quotes = regexp.MustCompile(`^(?s:[eE]'(?:\\.|''|[^'\\])*'|'(?:''|[^'])*'|"(?:""|[^"])*")`)

var (
	dollars = regexp.MustCompile(`^\$(?:[a-zA-Z_\x{80}-\x{10ffff}][a-zA-Z0-9_\x{80}-\x{10ffff}]*)?\$`)
	names   = regexp.MustCompile(`^[a-zA-Z_\x{80}-\x{10ffff}][a-zA-Z0-9_$\x{80}-\x{10ffff}]*`)
)

// exposed returns the words that a statement of PostgreSQL shows outside of quotes
// and comments, in lower case: a slow and plain model of the lexer. Symbols count
// as words; it is false where something is left open.
func exposed(text string) (words []string, ok bool) {
	for text != "" {
		if name := names.FindString(text); name != "" && !quotes.MatchString(text) {
			words, text = append(words, strings.ToLower(name)), text[len(name):]
			continue
		}
		if q := quotes.FindString(text); q != "" {
			words, text = append(words, "''"), text[len(q):]
			continue
		}
		if mark := dollars.FindString(text); mark != "" {
			_, rest, found := strings.Cut(text[len(mark):], mark)
			if !found {
				return nil, false
			}
			words, text = append(words, "''"), rest
			continue
		}
		switch {
		case strings.HasPrefix(text, "--"):
			end := strings.IndexAny(text, "\r\n")
			if end < 0 {
				return words, true
			}
			text = text[end:]
		case strings.HasPrefix(text, "/*"):
			depth, i := 1, 2
			for ; depth > 0; i++ {
				switch {
				case i >= len(text):
					return nil, false
				case strings.HasPrefix(text[i:], "/*"):
					depth++
					i++
				case strings.HasPrefix(text[i:], "*/"):
					depth--
					i++
				}
			}
			text = text[i:]
		case text[0] == '\'' || text[0] == '"':
			return nil, false
		default:
			if !strings.ContainsRune(" \t\r\n\f\v", rune(text[0])) {
				words = append(words, text[:1])
			}
			text = text[1:]
		}
	}
	return words, true
}

func FuzzClassify(f *testing.F) {
	for _, file := range []string{"listed.txt", "mysql.txt"} {
		for _, s := range corpus(f, file) {
			f.Add(s.query)
		}
	}
	for i, s := range corpus(f, "generated.txt") {
		if i%40 == 0 {
			f.Add(s.query)
		}
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, d := range []Dialect{PostgreSQL, MySQL} {
			s := Classify(d, query)
			if again := Classify(d, query); again != s {
				t.Fatalf("%v: %q is %v, then %v", d, query, s, again)
			}
			if (s.Class == Read) != (s.Reason == IsRead) || s.Class == Read && (s.Effects != 0 || s.Tx != NoTx) {
				t.Fatalf("%v: %q is %+v", d, query, s)
			}
			if s.Class != Read {
				continue
			}
			// A read is complete: what follows it in a new line is seen, and what comes
			// before it, too.
			for _, longer := range []string{query + "\n for update", query + "\n;delete from t", "delete from t;" + query, query + "\n, nextval('s')"} {
				if s := Classify(d, longer); s.Class == Read {
					t.Fatalf("%v: %q is a read", d, longer)
				}
			}
		}
		if Classify(PostgreSQL, query).Class != Read || !asciiOrUTF8(query) {
			return
		}
		words, ok := exposed(query)
		if !ok {
			t.Fatalf("%q is a read, but something in it is left open", query)
		}
		words = slices.DeleteFunc(words, func(w string) bool { return w == "(" })
		for len(words) > 0 && words[0] == ";" {
			words = words[1:]
		}
		if len(words) == 0 || !slices.Contains([]string{"select", "values", "table", "with", "explain"}, words[0]) {
			t.Fatalf("%q is a read and begins with %q", query, words)
		}
		for i, w := range words {
			before := ""
			if i > 0 {
				before = words[i-1]
			}
			if before == "." || before == "as" {
				continue
			}
			switch w {
			case "insert", "update", "delete", "merge", "into":
				t.Fatalf("%q is a read and shows %s", query, w)
			case "share":
				if before == "for" || before == "key" {
					t.Fatalf("%q is a read and locks rows", query)
				}
			case ";":
				if strings.Trim(strings.Join(words[i:], ""), ";") != "" {
					t.Fatalf("%q is a read and goes on after a semicolon", query)
				}
			}
		}
	})
}

// asciiOrUTF8 reports whether the regular expressions of the model read the text
// as the server would.
func asciiOrUTF8(s string) bool { return !strings.ContainsRune(s, '\uFFFD') }
