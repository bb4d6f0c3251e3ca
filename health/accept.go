package health

import (
	"mime"
	"strconv"
	"strings"
)

// negotiate returns the index of the offer that a client prefers by its Accept
// fields (RFC 9110, section 12.5.1): the one of the highest quality, and of several
// the first. Where none is acceptable, or there is no field, it is the first: a
// probe wants an answer more than a format. Ranges that cannot be read count as not
// sent.
func negotiate(accept, offers []string) int {
	ranges := parseAccept(accept)
	best, quality := 0, 0.0
	for i, offer := range offers {
		if q := qualityOf(offer, ranges); q > quality {
			best, quality = i, q
		}
	}
	return best
}

// mediaRange is one element of an Accept field.
type mediaRange struct {
	kind, subtype string // "*" for any
	quality       float64
}

// parseAccept reads the elements of Accept fields.
func parseAccept(fields []string) []mediaRange {
	var ranges []mediaRange
	for _, field := range fields {
		for element := range elements(field) {
			media, params, err := mime.ParseMediaType(element)
			kind, subtype, ok := strings.Cut(media, "/")
			if err != nil || !ok || kind == "*" && subtype != "*" {
				continue
			}
			quality := 1.0
			if weight, weighted := params["q"]; weighted {
				q, err := strconv.ParseFloat(weight, 64)
				if err != nil || !(q >= 0 && q <= 1) {
					continue
				}
				quality = q
			}
			ranges = append(ranges, mediaRange{kind: kind, subtype: subtype, quality: quality})
		}
	}
	return ranges
}

// elements yields the parts of a list between commas that are not quoted (RFC 9110,
// section 5.6.1).
func elements(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		begin, quoted := 0, false
		for i := 0; i < len(list); i++ {
			switch c := list[i]; {
			case c == '"':
				quoted = !quoted
			case c == '\\' && quoted:
				i++
			case c == ',' && !quoted:
				if !yield(list[begin:i]) {
					return
				}
				begin = i + 1
			}
		}
		yield(list[begin:])
	}
}

// qualityOf returns the quality of a media type by the most specific range that
// matches it, the first of several.
func qualityOf(media string, ranges []mediaRange) float64 {
	kind, subtype, _ := strings.Cut(media, "/")
	quality, specific := 0.0, 0
	for _, r := range ranges {
		matches := 0
		switch {
		case r.kind == kind && r.subtype == subtype:
			matches = 3
		case r.kind == kind && r.subtype == "*":
			matches = 2
		case r.kind == "*":
			matches = 1
		}
		if matches > specific {
			quality, specific = r.quality, matches
		}
	}
	return quality
}
