package sqlclass

// kind is the kind of a token.
type kind uint8

const (
	atEnd    kind = iota
	ident         // an unquoted identifier or keyword
	quoted        // a quoted identifier; in MySQL also a string in double quotes
	literal       // a string, number or parameter
	cast          // ::
	assign        // :=
	variable      // @name or @@name of MySQL
	symbol        // any other byte
	invalid       // the rest cannot be told apart
)

// lexer cuts a text into tokens as the server does. It skips white space and
// comments, of which it remembers the hint.
type lexer struct {
	text       string
	dialect    Dialect
	pos        int // where the next token is looked for
	kind       kind
	start, end int // of the token
	hint       Hint
}

// next goes to the next token. After atEnd and invalid there is no other.
func (l *lexer) next() {
	if l.kind == invalid {
		return
	}
	l.kind = l.scan()
	l.end = l.pos
}

// at returns the byte at a position, or 0 beyond the end.
func (l *lexer) at(pos int) byte {
	if pos < len(l.text) {
		return l.text[pos]
	}
	return 0
}

func (l *lexer) scan() kind {
	if !l.skip() {
		return invalid
	}
	l.start = l.pos
	if l.pos == len(l.text) {
		return atEnd
	}
	c := l.text[l.pos]
	switch {
	case table[c]&letter != 0 || c == '$' && l.dialect == MySQL:
		return l.word()
	case c >= '0' && c <= '9':
		return l.number()
	}
	l.pos++
	switch c {
	case '\'':
		return l.quote('\'', false, literal)
	case '"':
		return l.quote('"', l.dialect == PostgreSQL, quoted)
	case '`':
		if l.dialect == MySQL {
			return l.quote('`', true, quoted)
		}
	case '$':
		return l.dollar()
	case ':':
		switch l.at(l.pos) {
		case ':':
			l.pos++
			return cast
		case '=':
			l.pos++
			return assign
		}
	case '@':
		if l.dialect == MySQL {
			return variable
		}
	case '\\':
		// MySQL's client takes \G and the like; no server does.
		return invalid
	}
	if c < ' ' || c == 0x7f {
		return invalid
	}
	return symbol
}

// skip passes white space and comments. It returns false in a comment that
// does not end, or that a MySQL server may execute.
func (l *lexer) skip() bool {
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		switch class := table[c]; {
		case class&(space|remark) == 0:
			return true
		case class&space != 0:
			l.pos++
		case c == '-' && l.at(l.pos+1) == '-' && l.dashes():
			l.line(2)
		case c == '#' && l.dialect == MySQL:
			l.line(1)
		case c == '/' && l.at(l.pos+1) == '*':
			if !l.comment() {
				return false
			}
		default:
			return true
		}
	}
	return true
}

// dashes reports whether two dashes begin a comment. MySQL wants white space or
// a control character after them: 1--1 is 2 there, and the end of the text counts.
func (l *lexer) dashes() bool {
	if l.dialect == PostgreSQL || l.pos+2 >= len(l.text) {
		return true
	}
	c := l.text[l.pos+2]
	return c <= ' ' || c == 0x7f
}

// line passes a comment that ends with the line: for PostgreSQL, unlike MySQL, a
// carriage return ends it too.
func (l *lexer) line(marker int) {
	start := l.pos + marker
	end := start
	for end < len(l.text) && l.text[end] != '\n' && (l.dialect == MySQL || l.text[end] != '\r') {
		end++
	}
	l.hinted(l.text[start:end])
	l.pos = end
}

// comment passes a comment in /* */, which nests in PostgreSQL only. Those of
// MySQL that a server executes are refused.
func (l *lexer) comment() bool {
	start := l.pos + 2
	hints := false
	if l.dialect == MySQL {
		switch c := l.at(start); {
		case c == '!', (c == 'M' || c == 'm') && l.at(start+1) == '!':
			return false
		case c == '+':
			hints = true
		}
	}
	depth := 1
	for i := start; i+1 < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '*' && l.text[i+1] == '/':
			depth--
			if depth == 0 {
				l.hinted(l.text[start:i])
				l.pos = i + 2
				return true
			}
			i++
		case c == '/' && l.text[i+1] == '*' && l.dialect == PostgreSQL:
			depth++
			i++
		case hints && (c == '`' || c == '"' || c == '\''):
			// MySQL reads optimizer hints as words: a quoted one may hold the end mark.
			return false
		}
	}
	return false
}

const (
	hintPrimary = "uprung:primary"
	hintReplica = "uprung:replica"
)

// hinted looks for a hint in the text of a comment.
func (l *lexer) hinted(text string) {
	for text != "" && table[text[0]]&space != 0 {
		text = text[1:]
	}
	for text != "" && table[text[len(text)-1]]&space != 0 {
		text = text[:len(text)-1]
	}
	switch text {
	case hintPrimary:
		l.hint = ToPrimary
	case hintReplica:
		l.hint = max(l.hint, ToReplica)
	}
}

// word passes an identifier, or the string that a prefix like E belongs to.
func (l *lexer) word() kind {
	i := l.pos + 1
	for i < len(l.text) && (table[l.text[i]]&(letter|digit) != 0 || l.text[i] == '$') {
		i++
	}
	length := i - l.pos
	first := l.text[l.pos] | 0x20
	l.pos = i
	if l.dialect == PostgreSQL && length == 1 {
		switch {
		case first == 'e' && l.at(i) == '\'':
			l.pos++
			return l.escaped()
		case first == 'u' && l.at(i) == '&' && l.at(i+1) == '\'':
			l.pos += 2
			return l.quote('\'', false, literal)
		case first == 'u' && l.at(i) == '&' && l.at(i+1) == '"':
			// What such an identifier is called depends on the escape that follows it.
			return invalid
		}
	}
	return ident
}

// quote passes the rest of a quoted text, in which the mark stands doubled. Whether a
// backslash escapes the mark after it depends on a setting of the server, unless
// plain: a text that hinges on it is invalid.
func (l *lexer) quote(mark byte, plain bool, k kind) kind {
	slashes := 0
	for i := l.pos; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == mark && (plain || slashes%2 == 0):
			if l.at(i+1) != mark {
				l.pos = i + 1
				return k
			}
			i++ // doubled: it goes on
		case c == mark, c == 0:
			return invalid
		case c == '\\':
			slashes++
			continue
		}
		slashes = 0
	}
	return invalid
}

// escaped passes the rest of a string of PostgreSQL in which backslashes escape.
func (l *lexer) escaped() kind {
	for i := l.pos; i < len(l.text); i++ {
		switch l.text[i] {
		case '\\':
			i++
		case '\'':
			if l.at(i+1) != '\'' {
				l.pos = i + 1
				return literal
			}
			i++ // doubled: it goes on
		case 0:
			return invalid
		}
	}
	return invalid
}

// dollar passes a parameter or a dollar-quoted string of PostgreSQL, after its
// first dollar sign.
func (l *lexer) dollar() kind {
	i := l.pos
	if c := l.at(i); c >= '0' && c <= '9' {
		for l.at(i) >= '0' && l.at(i) <= '9' {
			i++
		}
		l.pos = i
		return l.apart()
	}
	for i < len(l.text) && (table[l.text[i]]&letter != 0 || i > l.pos && table[l.text[i]]&digit != 0) {
		i++
	}
	if l.at(i) != '$' {
		return invalid
	}
	tag := l.text[l.pos-1 : i+1]
	for i++; i+len(tag) <= len(l.text); i++ {
		if l.text[i] == '$' && l.text[i:i+len(tag)] == tag {
			l.pos = i + len(tag)
			return literal
		}
	}
	return invalid
}

// number passes a number. Letters that follow it without a space are read
// differently by versions and dialects, so that 1for is invalid.
func (l *lexer) number() kind {
	i := l.pos
	if x := l.at(i+1) | 0x20; l.text[i] == '0' && (x == 'x' || x == 'b' || x == 'o') {
		for i += 2; table[l.at(i)]&hex != 0; i++ {
		}
		l.pos = i
		return l.apart()
	}
	for table[l.at(i)]&digit != 0 || l.at(i) == '.' {
		i++
	}
	if l.at(i)|0x20 == 'e' {
		j := i + 1
		if l.at(j) == '+' || l.at(j) == '-' {
			j++
		}
		if table[l.at(j)]&digit != 0 {
			for i = j; table[l.at(i)]&digit != 0; i++ {
			}
		}
	}
	l.pos = i
	return l.apart()
}

// apart returns literal if the token that ends here stands apart from what follows.
func (l *lexer) apart() kind {
	if c := l.at(l.pos); table[c]&(letter|digit) != 0 || c == '$' {
		return invalid
	}
	return literal
}

// The classes of bytes.
const (
	letter = 1 << iota // begins an identifier
	digit
	hex
	space
	remark // may begin a comment
)

var table = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c >= 0x80:
			t[c] = letter
		case c >= '0' && c <= '9':
			t[c] = digit | hex
		case c == ' ', c >= '\t' && c <= '\r':
			t[c] = space
		case c == '-', c == '#', c == '/':
			t[c] = remark
		}
		if c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			t[c] |= hex
		}
	}
	return t
}()
