package httpcache

import (
	"net/http"
	"strings"
)

// This file reads structured fields (RFC 9651) as far as caches need them: dictionaries
// of targeted fields and lists of strings. Whatever is not strictly of the form makes the
// whole field invalid (RFC 9213, section 2.1).

// itemKind is the type of a bare item.
type itemKind uint8

const (
	otherItem itemKind = iota // a date, a decimal, a byte sequence, an inner list
	boolItem
	intItem
	stringItem
	tokenItem
)

// item is a bare item. Its parameters were read and forgotten.
type item struct {
	kind   itemKind
	truth  bool
	number int64
	text   string
}

// structured is what is left to be read.
type structured struct {
	s string
}

func (p *structured) spaces(set string) { p.s = strings.TrimLeft(p.s, set) }

func (p *structured) eat(c byte) bool {
	if p.s != "" && p.s[0] == c {
		p.s = p.s[1:]
		return true
	}
	return false
}

// parseDictionary reads a dictionary (RFC 9651, section 4.2.2). The last of equal keys
// counts.
func parseDictionary(lines []string) (map[string]item, bool) {
	p := structured{s: strings.Join(lines, ", ")}
	p.spaces(" ")
	members := make(map[string]item)
	for p.s != "" {
		key, ok := p.key()
		if !ok {
			return nil, false
		}
		value := item{kind: boolItem, truth: true}
		if p.eat('=') {
			value, ok = p.member()
		} else {
			ok = p.parameters()
		}
		if !ok {
			return nil, false
		}
		members[key] = value
		if !p.separator() {
			return nil, false
		}
	}
	return members, true
}

// parseList reads a list (section 4.2.1).
func parseList(lines []string) ([]item, bool) {
	p := structured{s: strings.Join(lines, ", ")}
	p.spaces(" ")
	var members []item
	for p.s != "" {
		one, ok := p.member()
		if !ok {
			return nil, false
		}
		members = append(members, one)
		if !p.separator() {
			return nil, false
		}
	}
	return members, true
}

// separator reads what is between two members, and reports false if there is something
// else, or no member after it. Nothing is left after the last.
func (p *structured) separator() bool {
	p.spaces(" \t")
	if p.s == "" {
		return true
	}
	if !p.eat(',') {
		return false
	}
	p.spaces(" \t")
	return p.s != ""
}

// key reads a key: lower case.
func (p *structured) key() (string, bool) {
	at := 0
	for at < len(p.s) {
		c := p.s[at]
		if c >= 'a' && c <= 'z' || c == '*' || at > 0 && (c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.') {
			at++
			continue
		}
		break
	}
	key := p.s[:at]
	p.s = p.s[at:]
	return key, key != ""
}

// member reads an item or an inner list, with parameters.
func (p *structured) member() (item, bool) {
	if !p.eat('(') {
		return p.item()
	}
	for {
		p.spaces(" ")
		if p.eat(')') {
			return item{}, p.parameters()
		}
		if _, ok := p.item(); !ok {
			return item{}, false
		}
		if p.s == "" || p.s[0] != ' ' && p.s[0] != ')' {
			return item{}, false
		}
	}
}

func (p *structured) item() (item, bool) {
	value, ok := p.bare()
	return value, ok && p.parameters()
}

func (p *structured) parameters() bool {
	for p.eat(';') {
		p.spaces(" ")
		if _, ok := p.key(); !ok {
			return false
		}
		if p.eat('=') {
			if _, ok := p.bare(); !ok {
				return false
			}
		}
	}
	return true
}

// bare reads a bare item (section 4.2.3.1).
func (p *structured) bare() (item, bool) {
	if p.s == "" {
		return item{}, false
	}
	switch c := p.s[0]; {
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == '"':
		text, ok := p.str()
		return item{kind: stringItem, text: text}, ok
	case c == '*' || c|0x20 >= 'a' && c|0x20 <= 'z':
		return item{kind: tokenItem, text: p.token()}, true
	case c == '?':
		if len(p.s) < 2 || p.s[1] != '0' && p.s[1] != '1' {
			return item{}, false
		}
		value := item{kind: boolItem, truth: p.s[1] == '1'}
		p.s = p.s[2:]
		return value, true
	case c == ':':
		end := strings.IndexByte(p.s[1:], ':')
		if end < 0 || strings.Trim(p.s[1:1+end], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != "" {
			return item{}, false
		}
		p.s = p.s[end+2:]
		return item{}, true
	case c == '@':
		p.s = p.s[1:]
		value, ok := p.number()
		return item{}, ok && value.kind == intItem
	case c == '%':
		return p.display()
	}
	return item{}, false
}

// number reads an integer of at most 15 digits, or a decimal (section 4.2.4).
func (p *structured) number() (item, bool) {
	negative := p.eat('-')
	at, point := 0, -1
	value := int64(0)
	for ; at < len(p.s); at++ {
		c := p.s[at]
		if c == '.' && point < 0 && at > 0 {
			point = at
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if point < 0 {
			if at == 15 {
				return item{}, false
			}
			value = value*10 + int64(c-'0')
		}
	}
	digits := at
	p.s = p.s[at:]
	if point >= 0 {
		after := digits - point - 1
		return item{}, point <= 12 && after >= 1 && after <= 3
	}
	if negative {
		value = -value
	}
	return item{kind: intItem, number: value}, digits > 0
}

// str reads a string: printable ASCII, in which only the quote and the backslash are
// escaped.
func (p *structured) str() (string, bool) {
	var text strings.Builder
	for at := 1; at < len(p.s); at++ {
		switch c := p.s[at]; {
		case c == '\\':
			if at++; at == len(p.s) || p.s[at] != '"' && p.s[at] != '\\' {
				return "", false
			}
			text.WriteByte(p.s[at])
		case c == '"':
			p.s = p.s[at+1:]
			return text.String(), true
		case c < ' ' || c > '~':
			return "", false
		default:
			text.WriteByte(c)
		}
	}
	return "", false
}

func (p *structured) token() string {
	at := 1
	for at < len(p.s) && (p.s[at] == ':' || p.s[at] == '/' || isToken(p.s[at:at+1])) {
		at++
	}
	token := p.s[:at]
	p.s = p.s[at:]
	return token
}

// display reads a display string, of which nothing is used (section 4.2.10).
func (p *structured) display() (item, bool) {
	if !strings.HasPrefix(p.s, `%"`) {
		return item{}, false
	}
	for at := 2; at < len(p.s); at++ {
		switch c := p.s[at]; {
		case c == '"':
			p.s = p.s[at+1:]
			return item{}, true
		case c < ' ' || c > '~':
			return item{}, false
		case c == '%':
			if at+2 >= len(p.s) || !lowerHex(p.s[at+1]) || !lowerHex(p.s[at+2]) {
				return item{}, false
			}
			at += 2
		}
	}
	return item{}, false
}

func lowerHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

// targeted returns what the first valid, non-empty field of a list of targeted ones says
// (RFC 9213, section 2.2), and false if there is none.
func targeted(h http.Header, names []string) (directives, bool) {
	for _, name := range names {
		lines := h[name]
		if len(lines) == 0 {
			continue
		}
		members, ok := parseDictionary(lines)
		if !ok || len(members) == 0 {
			continue
		}
		return fromDictionary(members), true
	}
	return directives{}, false
}

// fromDictionary takes directives of their exact types, and ignores those of others.
func fromDictionary(members map[string]item) directives {
	d := directives{present: true}
	seconds := func(name string, to *delta) {
		if value, ok := members[name]; ok {
			*to = delta{set: true}
			if value.kind == intItem && value.number >= 0 {
				to.valid, to.seconds = true, min(value.number, maxSeconds)
			}
		}
	}
	truth := func(name string) bool { return members[name].kind == boolItem && members[name].truth }
	names := func(name string) (all bool, some []string) {
		switch value := members[name]; value.kind {
		case boolItem:
			return value.truth, nil
		case stringItem:
			if some = fieldNames(value.text); len(some) == 0 {
				return true, nil
			}
		}
		return false, some
	}
	seconds("max-age", &d.maxAge)
	seconds("s-maxage", &d.sMaxAge)
	seconds("stale-while-revalidate", &d.staleWhileRevalidate)
	seconds("stale-if-error", &d.staleIfError)
	d.noStore, d.public, d.mustUnderstand = truth("no-store"), truth("public"), truth("must-understand")
	d.mustRevalidate, d.proxyRevalidate = truth("must-revalidate"), truth("proxy-revalidate")
	d.noCache, d.noCacheFields = names("no-cache")
	d.private, d.privateFields = names("private")
	return d
}
