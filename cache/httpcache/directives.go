package httpcache

import (
	"strings"
	"time"
)

// maxSeconds is what a delta of seconds that is too large to be held becomes (RFC 9111,
// section 1.2.2).
const maxSeconds = 1 << 31

// delta is a number of seconds that may be absent or not valid.
type delta struct {
	set, valid bool
	seconds    int64
}

func (d delta) duration() time.Duration { return time.Duration(d.seconds) * time.Second }

// directives are those of Cache-Control that have a meaning here (RFC 9111, section 5.2),
// in a response or a request. Where one is repeated the first counts (section 4.2.1), but
// for those that only restrict: they count wherever they are.
type directives struct {
	present bool // there is a field at all

	maxAge, sMaxAge delta
	noStore         bool
	// noCache and private are unqualified; with names of fields they are noCacheFields and
	// privateFields, in canonical form.
	noCache, private             bool
	noCacheFields, privateFields []string
	mustRevalidate               bool
	proxyRevalidate              bool
	mustUnderstand               bool
	public                       bool
	staleWhileRevalidate         delta
	staleIfError                 delta

	// Of requests alone.
	maxStale     delta // set and not valid: any age (it had no value)
	minFresh     delta
	onlyIfCached bool
}

// parseDirectives reads the lines of Cache-Control.
func parseDirectives(lines []string) (d directives) {
	for _, line := range lines {
		d.present = true
		for rest := line; rest != ""; {
			var name, value string
			var valued bool
			name, value, valued, rest = nextDirective(rest)
			d.note(name, value, valued)
		}
	}
	return d
}

// nextDirective cuts a directive off a list. Commas within a quoted string do not end it,
// but a quote that is not closed hides nothing. A value beside which there is white space,
// or anything after its quotes, keeps that, and so is no number.
func nextDirective(s string) (name, value string, valued bool, rest string) {
	s = strings.TrimLeft(s, " \t,")
	end := 0
	for end < len(s) && s[end] != ',' && s[end] != '=' {
		end++
	}
	name = strings.TrimRight(s[:end], " \t")
	if end == len(s) || s[end] == ',' {
		return name, "", false, s[min(end+1, len(s)):]
	}
	spaced := s[len(name):end]
	s = s[end+1:]
	if text, after, ok := quotedPrefix(s); ok {
		junk, rest, _ := strings.Cut(after, ",")
		if junk = strings.TrimRight(junk, " \t"); junk != "" {
			text = s[:len(s)-len(after)] + junk
		}
		return name, spaced + text, true, rest
	}
	value, rest, _ = strings.Cut(s, ",")
	return name, spaced + strings.TrimRight(value, " \t"), true, rest
}

// quotedPrefix reads a quoted string at the beginning of s (RFC 9110, section 5.6.4).
func quotedPrefix(s string) (text, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	var b strings.Builder
	for at := 1; at < len(s); at++ {
		switch {
		case s[at] == '"':
			return b.String(), s[at+1:], true
		case s[at] == '\\' && at+1 < len(s):
			at++
		}
		b.WriteByte(s[at])
	}
	return "", s, false
}

func (d *directives) note(name, value string, valued bool) {
	seconds := func(to *delta) {
		if !to.set {
			to.set = true
			to.seconds, to.valid = parseSeconds(value)
		}
	}
	switch {
	case strings.EqualFold(name, "max-age"):
		seconds(&d.maxAge)
	case strings.EqualFold(name, "s-maxage"):
		seconds(&d.sMaxAge)
	case strings.EqualFold(name, "no-store"):
		d.noStore = true
	case strings.EqualFold(name, "no-cache"):
		if names := fieldNames(value); valued && len(names) > 0 {
			d.noCacheFields = append(d.noCacheFields, names...)
		} else {
			d.noCache = true
		}
	case strings.EqualFold(name, "private"):
		if names := fieldNames(value); valued && len(names) > 0 {
			d.privateFields = append(d.privateFields, names...)
		} else {
			d.private = true
		}
	case strings.EqualFold(name, "must-revalidate"):
		d.mustRevalidate = true
	case strings.EqualFold(name, "proxy-revalidate"):
		d.proxyRevalidate = true
	case strings.EqualFold(name, "must-understand"):
		d.mustUnderstand = true
	case strings.EqualFold(name, "public"):
		d.public = true
	case strings.EqualFold(name, "stale-while-revalidate"):
		seconds(&d.staleWhileRevalidate)
	case strings.EqualFold(name, "stale-if-error"):
		seconds(&d.staleIfError)
	case strings.EqualFold(name, "max-stale"):
		if valued {
			seconds(&d.maxStale)
		} else if !d.maxStale.set {
			d.maxStale = delta{set: true}
		}
	case strings.EqualFold(name, "min-fresh"):
		seconds(&d.minFresh)
	case strings.EqualFold(name, "only-if-cached"):
		d.onlyIfCached = true
	}
}

// parseSeconds reads a delta of seconds: digits, and nothing else.
func parseSeconds(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	value := int64(0)
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		if value = value*10 + int64(c-'0'); value > maxSeconds {
			value = maxSeconds
		}
	}
	return value, true
}
