package ratelimit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung/key"

	"github.com/uprung/uprung/internal/option"
)

// member is one item of a structured list: its bare value and its parameters.
type member struct {
	value  any // string, token, int64, bool or []byte
	params map[string]any
}

// token is a Token of RFC 9651, as opposed to a String.
type token string

// parser reads structured fields (RFC 9651, section 4.2), of which it knows all
// but decimals, dates, display strings and inner lists, which none of ours have.
type parser struct {
	in  string
	pos int
}

var errSyntax = errors.New("not a structured field")

// parseList reads a field whose lines are the given values.
func parseList(lines []string) ([]member, error) {
	p := &parser{in: strings.Trim(strings.Join(lines, ", "), " ")}
	var list []member
	for p.pos < len(p.in) {
		one, err := p.item()
		if err != nil {
			return nil, fmt.Errorf("%w at byte %d of %q", err, p.pos, p.in)
		}
		list = append(list, one)
		p.skip(" \t")
		if p.pos == len(p.in) {
			return list, nil
		}
		if !p.take(',') {
			return nil, fmt.Errorf("%w: no comma at byte %d of %q", errSyntax, p.pos, p.in)
		}
		if p.skip(" \t"); p.pos == len(p.in) {
			return nil, fmt.Errorf("%w: %q ends with a comma", errSyntax, p.in)
		}
	}
	return list, nil
}

func (p *parser) peek() byte {
	if p.pos < len(p.in) {
		return p.in[p.pos]
	}
	return 0
}

func (p *parser) take(c byte) bool {
	if p.peek() != c || c == 0 {
		return false
	}
	p.pos++
	return true
}

// skip passes over bytes of a set and returns them.
func (p *parser) skip(set string) string {
	start := p.pos
	for p.pos < len(p.in) && strings.IndexByte(set, p.in[p.pos]) >= 0 {
		p.pos++
	}
	return p.in[start:p.pos]
}

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
	alpha  = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

func (p *parser) item() (m member, err error) {
	if m.value, err = p.bare(); err != nil {
		return m, err
	}
	m.params = map[string]any{}
	for p.take(';') {
		p.skip(" ")
		if strings.IndexByte(lower+"*", p.peek()) < 0 || p.peek() == 0 {
			return m, errSyntax
		}
		name := p.skip(lower + digits + "_-.*")
		if _, twice := m.params[name]; twice {
			return m, fmt.Errorf("%w: parameter %q twice", errSyntax, name)
		}
		m.params[name] = true
		if p.take('=') {
			if m.params[name], err = p.bare(); err != nil {
				return m, err
			}
		}
	}
	return m, nil
}

func (p *parser) bare() (any, error) {
	switch c := p.peek(); {
	case c == '"':
		return p.quoted()
	case c == '-' || c >= '0' && c <= '9':
		negative := p.take('-')
		number := p.skip(digits)
		if number == "" || len(number) > 15 {
			return nil, fmt.Errorf("%w: an Integer has 1 to 15 digits, not %q", errSyntax, number)
		}
		n, err := strconv.ParseInt(number, 10, 64)
		if negative {
			n = -n
		}
		return n, err
	case c == '*' || c != 0 && strings.IndexByte(alpha, c) >= 0:
		return token(p.skip(alpha + digits + ":/!#$%&'*+-.^_`|~")), nil
	case c == '?':
		p.pos++
		if p.take('1') {
			return true, nil
		}
		if p.take('0') {
			return false, nil
		}
	case c == ':':
		p.pos++
		text := p.skip(alpha + digits + "+/=")
		if p.take(':') {
			return base64.StdEncoding.DecodeString(text)
		}
	}
	return nil, errSyntax
}

func (p *parser) quoted() (any, error) {
	p.pos++
	var b strings.Builder
	for p.pos < len(p.in) {
		c := p.in[p.pos]
		p.pos++
		switch {
		case c == '"':
			return b.String(), nil
		case c == '\\':
			if c = p.peek(); c != '"' && c != '\\' {
				return nil, fmt.Errorf("%w: only quotes and backslashes are escaped", errSyntax)
			}
			p.pos++
		case c < ' ' || c > '~':
			return nil, fmt.Errorf("%w: byte %#x in a String", errSyntax, c)
		}
		b.WriteByte(c)
	}
	return nil, fmt.Errorf("%w: a String without end", errSyntax)
}

// The parser is checked against the examples of RFC 9651 and of the draft, and
// against what they forbid.
func TestStructuredFieldParser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		want string // empty means an error
	}{
		{`"burst";q=100;w=60,"daily";q=1000;w=86400`, `[{burst map[q:100 w:60]} {daily map[q:1000 w:86400]}]`},
		{`"peruser";q=65535;qu="content-bytes";w=10;pk=:c2RmamxK:`, `[{peruser map[pk:[115 100 102 106 108 74] q:65535 qu:content-bytes w:10]}]`},
		{`default;r=50;t=30`, `[{default map[r:50 t:30]}]`},
		{`"a\"b\\c" , x;y;z=?0`, `[{a"b\c map[]} {x map[y:true z:false]}]`},
		{`-7; a=999999999999999`, `[{-7 map[a:999999999999999]}]`},
		{``, `[]`},
		{`"a";q=1000000000000000`, ""}, {`"a`, ""}, {`"a\n"`, ""}, {`"a",`, ""}, {`"a" "b"`, ""}, {`"a";Q=1`, ""},
		{`"a";q=1;q=2`, ""}, {`"a";q=`, ""}, {"\"\u00e9\"", ""}, {`;q=1`, ""}, {`"a";q=-`, ""},
	} {
		got, err := parseList([]string{tt.in})
		if err != nil && tt.want != "" || err == nil && fmt.Sprint(got) != tt.want {
			t.Errorf("%s: %v, %v, want %s", tt.in, got, err, tt.want)
		}
	}
}

// integer returns a parameter that must be one.
func (m member) integer(t testing.TB, name string) int64 {
	t.Helper()
	n, ok := m.params[name].(int64)
	if !ok {
		t.Fatalf("%s is %v in %v, want an Integer", name, m.params[name], m)
	}
	return n
}

// checkFields checks what the draft requires of the members of both fields.
func checkFields(t testing.TB, policyLines, statusLines []string, names ...string) (policies, statuses []member) {
	t.Helper()
	policies, err := parseList(policyLines)
	if err != nil {
		t.Fatalf("RateLimit-Policy: %v", err)
	}
	statuses, err = parseList(statusLines)
	if err != nil {
		t.Fatalf("RateLimit: %v", err)
	}
	if len(policies) != len(names) || len(statuses) != len(names) {
		t.Fatalf("%d policies and %d statuses, want %d: %q and %q", len(policies), len(statuses), len(names), policyLines, statusLines)
	}
	for i, name := range names {
		if policies[i].value != name || statuses[i].value != name {
			t.Errorf("member %d is of %v and %v, want the String %q", i, policies[i].value, statuses[i].value, name)
		}
		q, w := policies[i].integer(t, "q"), policies[i].integer(t, "w")
		r, after := statuses[i].integer(t, "r"), int64(1)
		if statuses[i].params["t"] != nil {
			after = statuses[i].integer(t, "t")
		}
		if q < 0 || w < 1 || r < 0 || after < 1 || r > q {
			t.Errorf("%q and %q: want q >= r >= 0, w >= 1 and t >= 1", policyLines, statusLines)
		}
		for name := range policies[i].params {
			if name != "q" && name != "w" {
				t.Errorf("%q has a parameter %s", policyLines, name)
			}
		}
	}
	return policies, statuses
}

func TestStructuredFields(t *testing.T) {
	t.Parallel()
	const clamp = 999_999_999_999_999
	for _, tt := range []struct {
		name   string
		limit  Limit
		policy string
		status string
	}{
		{"", PerSecond(100), `"default";q=100;w=1`, `"default";r=99;t=1`},
		{"p", PerMinute(5), `"p";q=5;w=60`, `"p";r=4;t=12`},
		{"p", PerHour(1000).WithBurst(10), `"p";q=10;w=36`, `"p";r=9;t=4`},
		{"p", Limit{Events: 1, Period: 10 * time.Second}, `"p";q=1;w=10`, `"p";r=0;t=10`},
		{"p", Limit{Events: 3, Period: 10 * time.Second, Burst: 1}, `"p";q=1;w=4`, `"p";r=0;t=4`},
		// A bucket that refills within a second is told per second.
		{"p", PerSecond(1000).WithBurst(10), `"p";q=1000;w=1`, `"p";r=9;t=1`},
		{"p", Limit{Events: 10, Period: 10 * time.Millisecond}, `"p";q=1000;w=1`, `"p";r=9;t=1`},
		{"p", Limit{Events: 1e9, Period: time.Second, Burst: 7e8}, `"p";q=1000000000;w=1`, `"p";r=699999999;t=1`},
		{`q"b\`, PerSecond(2), `"q\"b\\";q=2;w=1`, `"q\"b\\";r=1;t=1`},
		{`;q=0;w=0, "x"`, PerSecond(2), `";q=0;w=0, \"x\"";q=2;w=1`, `";q=0;w=0, \"x\"";r=1;t=1`},
		{"p", PerSecond(fastest).WithBurst(clamp + 5), `"p";q=999999999999999;w=83334`, `"p";r=999999999999999;t=1`},
	} {
		l := newLimiter(t, tt.limit, &Options{Name: tt.name, Capacity: 8})
		w := send(l.Middleware(accept), request(""))
		h := w.Header()
		checkFields(t, h.Values("RateLimit-Policy"), h.Values("RateLimit"), l.name)
		if policy, status := h.Get("RateLimit-Policy"), h.Get("RateLimit"); policy != tt.policy || status != tt.status {
			t.Errorf("%v:\ngot  %s and %s\nwant %s and %s", tt.limit, policy, status, tt.policy, tt.status)
		}
	}
}

func TestHeadersString(t *testing.T) {
	t.Parallel()
	for h, want := range map[Headers]string{HeadersIETF: "ietf", HeadersNone: "none", 200: "Headers(200)"} {
		if got := h.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add("default", `a "quoted\name"`, int64(100), int64(time.Second), int64(20), int64(3))
	f.Add("", "\\", int64(1000), int64(time.Millisecond), int64(0), int64(999))
	f.Add(`"`, `;q=1`, int64(1), int64(10*time.Second), int64(1), int64(1))
	f.Add("a,b", "*", int64(fastest), int64(time.Second), int64(math.MaxInt64/100), int64(1))
	f.Add("caf\u00e9", "\x00", int64(math.MaxInt64), int64(1), int64(1), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, name, other string, events, period, burst, cost int64) {
		limit := Limit{Events: events, Period: time.Duration(period), Burst: burst}
		limiter := func(name string) (*Limiter, bool) {
			l, err := New(limit, &Options{Name: name, Capacity: 1, Key: key.Header("Api-Key"), Cost: func(*http.Request) int64 { return cost }})
			if err != nil && limit.Validate() == nil && (name == "" || option.CheckName("Name", name) == nil) {
				t.Fatalf("%q is refused: %v", name, err)
			}
			return l, err == nil
		}
		outer, ok1 := limiter(name)
		inner, ok2 := limiter(other)
		if !ok1 || !ok2 || cost <= 0 {
			return
		}
		h := outer.Middleware(inner.Middleware(accept))
		for range 3 {
			w := send(h, request("k"))
			fields := w.Header()
			if limit.unlimited() {
				if w.Code != http.StatusOK || fields.Get("RateLimit") != "" {
					t.Fatalf("unlimited: %d, %v", w.Code, fields)
				}
				return
			}
			names := []string{outer.name, inner.name}
			if w.Code != http.StatusOK {
				names = names[:1] // the outer one refuses first, as both are asked alike
			}
			_, statuses := checkFields(t, fields.Values("RateLimit-Policy"), fields.Values("RateLimit"), names...)
			retry := fields.Get("Retry-After")
			switch {
			case w.Code == http.StatusOK:
				if retry != "" {
					t.Fatalf("Retry-After is %q on success", retry)
				}
			case cost > limit.burst() || events == 0:
				if retry != "" {
					t.Fatalf("Retry-After is %q though nothing helps", retry)
				}
			default:
				seconds, err := strconv.ParseInt(retry, 10, 64)
				if err != nil || seconds < 1 || seconds < statuses[0].integer(t, "t") {
					t.Fatalf("Retry-After is %q, want seconds, at least 1 and at least t of %v", retry, statuses[0])
				}
			}
		}
	})
}
