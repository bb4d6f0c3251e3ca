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
}

// selectors returns what the Vary of a response says about its request (RFC 9111, section
// 4.1). None matches a Vary of "*".
func selectors(vary []string, request http.Header) []selector {
	var s []selector
	for one := range elements(vary) {
		name := http.CanonicalHeaderKey(one)
		if slices.ContainsFunc(s, func(known selector) bool { return known.name == name }) {
			continue
		}
		lines, set := request[name]
		s = append(s, selector{name: name, raw: slices.Clone(lines), value: normalised(name, lines), set: set})
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
		if set != one.set && one.name != "Accept-Encoding" || normalised(one.name, lines) != one.value {
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
func normalised(name string, lines []string) string {
	if name == "Accept-Encoding" {
		return acceptedEncodings(lines)
	}
	var b strings.Builder
	for one := range elements(lines) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(one)
	}
	return b.String()
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
