package httpcache

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// script is a conversation with a site, a line for each step:
//
//	origin 200 text | Etag: "1"      what the origin answers from here on; - is no body
//	origin cut 200 text | ...        the same, broken off before its end
//	origin down                      it hangs up without an answer
//	wait 10s
//	GET /x | Range: bytes=0-1 => hit 206 te | Age: 10 | Vary: -
//	saw If-None-Match: "1" | Range: -
//
// After the arrow it says whether the origin was asked: hit (not at all), fwd (once), fwd2
// (twice), or bg (once, but not for this answer). Then come status and body, "*" for any, or
// "fail" for an error, or "cut" for what breaks off,
// and fields that the answer has, or does not have if the value is "-", or merely has if it
// is "*". A step "saw" is about the last request that has reached the origin.
//
// In fields <date+5s> and <date-1h> stand for dates about the time of the step.
type script string

func (c script) run(t *testing.T, s *site) {
	t.Helper()
	for number, line := range strings.Split(string(c), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		fail := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%d: %s\n\t%s", number+1, line, fmt.Sprintf(format, args...))
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch verb {
		case "wait":
			d, err := time.ParseDuration(rest)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(d)
		case "origin":
			s.plays(t, rest)
		case "saw":
			_, last := s.reached()
			for name, want := range scriptFields(rest) {
				if got := strings.Join(last.Header[http.CanonicalHeaderKey(name)], "; "); !scriptMatches(got, last.Header[http.CanonicalHeaderKey(name)] != nil, want) {
					fail("%s is %q", name, got)
				}
			}
		default:
			asked, wanted, ok := strings.Cut(line, " => ")
			if !ok {
				t.Fatalf("%d: %s: no such step", number+1, line)
			}
			target, fields, _ := strings.Cut(asked, " | ")
			method, path, _ := strings.Cut(target, " ")
			var pairs []string
			for name, value := range scriptFields(fields) {
				pairs = append(pairs, name, value)
			}
			before, _ := s.reached()
			got := s.do(method, strings.TrimSpace(path), pairs...)
			after, _ := s.reached()
			head, fields, _ := strings.Cut(wanted, " | ")
			words := strings.Fields(head)
			calls := map[string]int{"hit": 0, "fwd": 1, "bg": 1, "fwd2": 2}[words[0]]
			if after-before != calls {
				fail("%d requests have reached the origin", after-before)
			}
			if words[1] == "cut" {
				if got.err == nil {
					fail("it is complete: %q", got.text)
				}
				continue
			}
			if words[1] == "fail" {
				if got.err == nil && got.StatusCode < 500 {
					fail("status is %d: %q", got.StatusCode, got.text)
				}
				continue
			}
			if got.err != nil {
				fail("%v", got.err)
				continue
			}
			if words[1] != "*" && strconv.Itoa(got.StatusCode) != words[1] {
				fail("status is %d: %v", got.StatusCode, got.Header)
			}
			if text := strings.Join(words[2:], " "); text != "*" && text != got.text && (text != "-" || got.text != "") {
				fail("body is %q", got.text)
			}
			for name, want := range scriptFields(fields) {
				values := got.Header[http.CanonicalHeaderKey(name)]
				if text := strings.Join(values, "; "); !scriptMatches(text, values != nil, want) {
					fail("%s is %q", name, text)
				}
			}
		}
	}
}

// plays makes the origin do what a step says.
func (s *site) plays(t *testing.T, step string) {
	t.Helper()
	if step == "down" {
		s.handle(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		return
	}
	head, fields, _ := strings.Cut(step, " | ")
	words := strings.Fields(head)
	cut := words[0] == "cut"
	if cut {
		words = words[1:]
	}
	code, err := strconv.Atoi(words[0])
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Join(words[1:], " ")
	if body == "-" {
		body = ""
	}
	var pairs []string
	for name, value := range scriptFields(fields) {
		pairs = append(pairs, name, value)
	}
	s.handle(func(w http.ResponseWriter, _ *http.Request) {
		for at := 0; at < len(pairs); at += 2 {
			w.Header().Add(pairs[at], pairs[at+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
		if cut {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
}

// scriptFields yields the fields of a step.
func scriptFields(s string) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		if strings.TrimSpace(s) == "" {
			return
		}
		for one := range strings.SplitSeq(s, " | ") {
			name, value, _ := strings.Cut(one, ":")
			value = strings.TrimSpace(value)
			for strings.Contains(value, "<date") {
				before, rest, _ := strings.Cut(value, "<date")
				offset, after, _ := strings.Cut(rest, ">")
				d, err := time.ParseDuration(offset)
				if err != nil {
					d = 0
				}
				value = before + time.Now().Add(d).UTC().Format(http.TimeFormat) + after
			}
			if !yield(strings.TrimSpace(name), value) {
				return
			}
		}
	}
}

func scriptMatches(got string, set bool, want string) bool {
	switch want {
	case "-":
		return !set
	case "*":
		return set
	}
	return got == want
}

// scripts runs each of a table in both faces.
func scripts(t *testing.T, o Options, table []struct{ name, script string }) {
	t.Helper()
	for _, one := range table {
		t.Run(one.name, func(t *testing.T) {
			faces(t, o, func(t *testing.T, s *site) { script(one.script).run(t, s) })
		})
	}
}
