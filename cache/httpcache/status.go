package httpcache

import (
	"slices"
	"strconv"
	"strings"
)

// cacheStatus is the field in which caches say what they did (RFC 9211).
const cacheStatus = "Cache-Status"

// status is our member of it.
type status struct {
	name      string
	hit       bool
	fwd       string // why the request went on; empty if it did not
	fwdStatus int    // zero if the status is that of the response
	ttl       int64
	timed     bool // ttl is set
	stored    bool
	collapsed int8 // 1, or -1 for an attempt in vain
	key       string
	detail    string
}

// lines returns the field with our member after those that are there already.
func (s *status) lines(before []string) []string {
	var b strings.Builder
	if isToken(s.name) && (s.name[0]|0x20 >= 'a' && s.name[0]|0x20 <= 'z' || s.name[0] == '*') {
		b.WriteString(s.name)
	} else {
		b.WriteString(quotedString(s.name))
	}
	if s.hit {
		b.WriteString("; hit")
	}
	if s.fwd != "" {
		b.WriteString("; fwd=")
		b.WriteString(s.fwd)
		if s.fwdStatus != 0 {
			b.WriteString("; fwd-status=")
			b.WriteString(strconv.Itoa(s.fwdStatus))
		}
	}
	if s.timed {
		b.WriteString("; ttl=")
		b.WriteString(strconv.FormatInt(s.ttl, 10))
	}
	if s.fwd != "" {
		if s.stored {
			b.WriteString("; stored")
		}
		switch s.collapsed {
		case 1:
			b.WriteString("; collapsed")
		case -1:
			b.WriteString("; collapsed=?0")
		}
	}
	if s.key != "" {
		b.WriteString("; key=")
		b.WriteString(quotedString(s.key))
	}
	if s.detail != "" {
		b.WriteString("; detail=")
		b.WriteString(s.detail)
	}
	return append(slices.Clip(slices.Clone(before)), b.String())
}

// quotedString returns a string of structured fields (RFC 9651, section 4.1.6), with a
// question mark for each byte that cannot be in one.
func quotedString(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for at := range len(s) {
		switch c := s[at]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
