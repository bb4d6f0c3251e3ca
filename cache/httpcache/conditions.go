package httpcache

import (
	"net/http"
	"strings"
	"time"
)

// entityTag is an ETag. The zero value is none.
type entityTag struct {
	weak  bool
	value string // with its quotes
}

// parseTag reads a tag at the beginning of s (RFC 9110, section 8.8.3), and returns the
// rest.
func parseTag(s string) (tag entityTag, rest string, ok bool) {
	rest = s
	if strings.HasPrefix(rest, "W/") {
		tag.weak, rest = true, rest[2:]
	}
	if !strings.HasPrefix(rest, `"`) {
		return entityTag{}, s, false
	}
	for at := 1; at < len(rest); at++ {
		switch c := rest[at]; {
		case c == '"':
			tag.value = rest[:at+1]
			return tag, rest[at+1:], true
		case c <= ' ' || c == 0x7f:
			return entityTag{}, s, false
		}
	}
	return entityTag{}, s, false
}

// tagOf returns the tag of a response, if it has a valid one.
func tagOf(h http.Header) (entityTag, bool) {
	tag, rest, ok := parseTag(strings.Trim(single(h, "Etag"), " \t"))
	return tag, ok && rest == ""
}

// strong compares two tags strongly, and weak weakly (section 8.8.3.2).
func strong(a, b entityTag) bool { return !a.weak && !b.weak && a.value == b.value && a.value != "" }
func weak(a, b entityTag) bool   { return a.value == b.value && a.value != "" }

// tags yields those of a list over several lines, in which commas may be part of them. A
// "*" comes as a tag of that value.
func tags(lines []string) func(yield func(entityTag) bool) {
	return func(yield func(entityTag) bool) {
		for _, line := range lines {
			for line = strings.TrimLeft(line, " \t,"); line != ""; line = strings.TrimLeft(line, " \t,") {
				if line[0] == '*' {
					if !yield(entityTag{value: "*"}) {
						return
					}
					line = line[1:]
					continue
				}
				tag, rest, ok := parseTag(line)
				if !ok {
					_, rest, _ = strings.Cut(line, ",")
				} else if !yield(tag) {
					return
				}
				line = rest
			}
		}
	}
}

// anyMatches reports whether a list has a tag that is weakly the same.
func anyMatches(lines []string, own entityTag) bool {
	for tag := range tags(lines) {
		if tag.value == "*" || weak(tag, own) {
			return true
		}
	}
	return false
}

// unmodified reports whether the client of a request has the stored response already (RFC
// 9111, section 4.3.2, and RFC 9110, section 13.2.2).
func (e *Entry) unmodified(r *http.Request, now time.Time) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || e.status != http.StatusOK && e.status != http.StatusPartialContent {
		return false
	}
	if lines, ok := r.Header["If-None-Match"]; ok {
		own, _ := tagOf(e.header)
		return anyMatches(lines, own)
	}
	lines := r.Header["If-Modified-Since"]
	if len(lines) != 1 {
		return false
	}
	since, ok := parseDate(lines[0], now)
	if !ok {
		return false
	}
	modified, ok := parseDate(single(e.header, "Last-Modified"), now)
	if !ok {
		modified = e.date
	}
	return !modified.Truncate(time.Second).After(since)
}

// rangeHolds reports whether the If-Range of a request lets its Range count (RFC 9110,
// section 13.1.5).
func (e *Entry) rangeHolds(r *http.Request, now time.Time) bool {
	lines, ok := r.Header["If-Range"]
	if !ok {
		return true
	}
	if len(lines) != 1 {
		return false
	}
	if tag, rest, ok := parseTag(strings.Trim(lines[0], " \t")); ok {
		own, _ := tagOf(e.header)
		return rest == "" && strong(tag, own)
	}
	at, ok := parseDate(lines[0], now)
	modified, known := parseDate(single(e.header, "Last-Modified"), now)
	// A date is strong if the response was made at least a second later (section 8.8.2.2).
	return ok && known && at.Equal(modified) && e.date.Sub(modified) >= time.Second
}
