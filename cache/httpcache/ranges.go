package httpcache

import (
	"fmt"
	"strconv"
	"strings"
)

// byteRange is a part of a body: from first to last, both included.
type byteRange struct{ first, last int64 }

func (r byteRange) size() int64 { return r.last - r.first + 1 }

// maxRanges is how many parts a request may ask for. Those that ask for more get all, as
// do those whose parts together are more than that (RFC 9110, section 17.15).
const maxRanges = 16

// rangeSpec is a range as it was asked for: -1 stands for what was left out.
type rangeSpec struct{ first, last int64 }

// parseRanges reads a Range (RFC 9110, section 14.2). False means that it is to be
// ignored.
func parseRanges(lines []string) ([]rangeSpec, bool) {
	if len(lines) != 1 {
		return nil, false
	}
	unit, set, ok := strings.Cut(lines[0], "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return nil, false
	}
	var specs []rangeSpec
	for one := range strings.SplitSeq(set, ",") {
		if one = strings.Trim(one, " \t"); one == "" {
			continue
		}
		from, to, ok := strings.Cut(one, "-")
		first, fine1 := position(from)
		last, fine2 := position(to)
		if !ok || !fine1 || !fine2 || first < 0 && last < 0 || first >= 0 && last >= 0 && last < first {
			return nil, false
		}
		if specs = append(specs, rangeSpec{first, last}); len(specs) > maxRanges {
			return nil, false
		}
	}
	return specs, len(specs) > 0
}

// position reads a number of digits, or -1 where there is nothing.
func position(s string) (int64, bool) {
	if s == "" {
		return -1, true
	}
	for at := range len(s) {
		if s[at] < '0' || s[at] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true // beyond any body
	}
	return n, true
}

// satisfied returns those parts that a body of a size has.
func satisfied(specs []rangeSpec, size int64) []byteRange {
	var parts []byteRange
	for _, s := range specs {
		switch {
		case s.first < 0 && s.last == 0, s.first >= size, size == 0:
			continue
		case s.first < 0:
			parts = append(parts, byteRange{max(size-s.last, 0), size - 1})
		case s.last < 0:
			parts = append(parts, byteRange{s.first, size - 1})
		default:
			parts = append(parts, byteRange{s.first, min(s.last, size-1)})
		}
	}
	return parts
}

// contentRange is a Content-Range of bytes: total is -1 if it is not known.
type contentRange struct {
	byteRange
	total int64
}

// parseContentRange reads that of a 206 (RFC 9110, section 14.4).
func parseContentRange(s string) (c contentRange, ok bool) {
	unit, rest, _ := strings.Cut(strings.Trim(s, " \t"), " ")
	span, total, ok := strings.Cut(strings.TrimLeft(rest, " "), "/")
	from, to, ok2 := strings.Cut(span, "-")
	if !strings.EqualFold(unit, "bytes") || !ok || !ok2 || from == "" || to == "" {
		return c, false
	}
	var fine1, fine2, fine3 bool
	c.first, fine1 = position(from)
	c.last, fine2 = position(to)
	if total == "*" {
		c.total, fine3 = -1, true
	} else if total != "" {
		c.total, fine3 = position(total)
	}
	return c, fine1 && fine2 && fine3 && c.first <= c.last && (c.total < 0 || c.last < c.total)
}

func (c contentRange) String() string {
	total := "*"
	if c.total >= 0 {
		total = strconv.FormatInt(c.total, 10)
	}
	return fmt.Sprintf("bytes %d-%d/%s", c.first, c.last, total)
}
