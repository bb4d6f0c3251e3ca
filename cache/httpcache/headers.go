package httpcache

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// elements yields the members of a list whose lines are joined, trimmed and without
// empty ones. Commas within a quoted string are none of the list's.
func elements(lines []string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, line := range lines {
			start, quoted := 0, false
			for at := 0; at <= len(line); at++ {
				switch {
				case at == len(line) || line[at] == ',' && !quoted:
					if one := strings.Trim(line[start:at], " \t"); one != "" && !yield(one) {
						return
					}
					start = at + 1
				case line[at] == '"':
					quoted = !quoted
				case line[at] == '\\' && quoted:
					at++
				}
			}
		}
	}
}

// fieldNames returns the names of fields in a list, in canonical form.
func fieldNames(list string) []string {
	var names []string
	for one := range elements([]string{list}) {
		names = append(names, textproto.CanonicalMIMEHeaderKey(one))
	}
	return names
}

// hopByHop are the fields of a response that are not stored (RFC 9110, section 7.6.1, and
// RFC 9111, section 3.1), besides those that Connection lists.
var hopByHop = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Transfer-Encoding", "Upgrade",
	"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
	"Trailer", // names what is not stored
}

// storedHeader returns what is stored of the header of a response: a copy whose slices
// have no room, so that nobody can append to them in place.
func storedHeader(h http.Header) http.Header {
	listed := map[string]bool{}
	for one := range elements(h["Connection"]) {
		listed[textproto.CanonicalMIMEHeaderKey(one)] = true
	}
	stored := make(http.Header, len(h))
	for name, values := range h {
		if listed[name] || slices.Contains(hopByHop, name) || strings.HasPrefix(name, http.TrailerPrefix) || len(values) == 0 {
			continue
		}
		stored[name] = slices.Clip(slices.Clone(values))
	}
	return stored
}

// freshened returns the header of a stored response after a 304 (RFC 9111, section 3.2):
// each field of it replaces that of the same name, but for those of the connection and
// those that describe the stored bytes.
func freshened(stored, update http.Header) http.Header {
	merged := make(http.Header, len(stored)+len(update))
	maps.Copy(merged, stored)
	for name, values := range storedHeader(update) {
		switch name {
		case "Content-Length", "Content-Range", "Content-Encoding":
			continue
		}
		merged[name] = values
	}
	return merged
}

func isToken(s string) bool {
	for at := range len(s) {
		c := s[at]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
