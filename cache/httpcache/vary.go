package httpcache

import (
	"net/http"
	"slices"
	"strings"
)

// selector is a field of a request by which a response was selected.
type selector struct {
	name  string
	raw   []string // the lines as they were
	value string   // normalised
	set   bool
	exact bool // of Accept-Encoding: the coding of the response is none that is known here
}

// selectors returns what the header of a response says about its request (RFC 9111, section
// 4.1). None matches a Vary of "*". A response with a coding is taken to vary on
// Accept-Encoding, also if it forgets to say so.
func selectors(h, request http.Header) []selector {
	var s []selector
	add := func(name string) {
		if slices.ContainsFunc(s, func(known selector) bool { return known.name == name }) {
			return
		}
		lines, set := request[name]
		one := selector{name: name, raw: slices.Clone(lines), set: set, exact: name == acceptEncoding && !knownCodings(h)}
		one.value = normalised(name, lines, one.exact)
		s = append(s, one)
	}
	for one := range elements(h["Vary"]) {
		add(http.CanonicalHeaderKey(one))
	}
	if len(h["Content-Encoding"]) > 0 {
		add(acceptEncoding)
	}
	slices.SortFunc(s, func(a, b selector) int { return strings.Compare(a.name, b.name) })
	return s
}

// selects reports whether a request has the same fields.
func selects(s []selector, request http.Header) bool {
	for at := range s {
		one := &s[at]
		if one.name == "*" {
			return false
		}
		lines, set := request[one.name]
		if slices.Equal(lines, one.raw) && set == one.set {
			continue
		}
		if set != one.set || normalised(one.name, lines, one.exact) != one.value {
			return false
		}
	}
	return true
}

// sameSelectors reports whether two responses are of the same variant.
func sameSelectors(a, b []selector) bool {
	return slices.EqualFunc(a, b, func(a, b selector) bool { return a.name == b.name && a.set == b.set && a.value == b.value })
}

// normalised returns a value in which line splits and white space make no difference, and
// that of Accept-Encoding as the set of codings that anybody serves.
func normalised(name string, lines []string, exact bool) string {
	if name == acceptEncoding && !exact {
		return acceptedEncodings(lines)
	}
	var b strings.Builder
	for one := range elements(lines) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		if name == "Accept-Language" { // whose tags and weights have no case (RFC 9110, section 12.5.4)
			one = strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(one, " ", ""), "\t", ""))
		}
		b.WriteString(one)
	}
	return b.String()
}

const acceptEncoding = "Accept-Encoding"

// knownCodings reports whether a response has no codings but those that acceptedEncodings
// tells apart.
func knownCodings(h http.Header) bool {
	for one := range elements(h["Content-Encoding"]) {
		switch strings.ToLower(one) {
		case "br", "gzip", "zstd", "identity":
		default:
			return false
		}
	}
	return true
}

// acceptedEncodings returns the set of those codings that are accepted: what else a
// client names, and in which order, no origin looks at. Without the field any is, which is
// a set of its own: it is not taken for an empty one.
func acceptedEncodings(lines []string) string {
	if lines == nil {
		return "any"
	}
	weights := map[string]bool{}
	for one := range elements(lines) {
		coding, parameters, _ := strings.Cut(one, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		weights[coding] = !zeroWeight(parameters)
	}
	accepted := make([]string, 0, 4)
	for _, coding := range []string{"br", "gzip", "zstd"} {
		if ok, said := weights[coding]; said && ok || !said && weights["*"] {
			accepted = append(accepted, coding)
		}
	}
	if ok, said := weights["identity"]; !said || ok {
		if all, star := weights["*"]; said || !star || all {
			accepted = append(accepted, "identity")
		}
	}
	return strings.Join(accepted, ",")
}

// zeroWeight reports whether parameters have a weight of zero.
func zeroWeight(parameters string) bool {
	name, value, _ := strings.Cut(strings.ReplaceAll(parameters, " ", ""), "=")
	return strings.EqualFold(name, "q") && strings.Trim(value, "0.") == "" && value != ""
}
