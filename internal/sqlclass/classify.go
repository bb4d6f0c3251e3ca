package sqlclass

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// Classifier tells what statements of one dialect do. It never changes and is
// safe for concurrent use. The zero value is one for PostgreSQL that knows no
// function of the user.
type Classifier struct {
	dialect Dialect
	reads   map[string]bool // functions that were declared to be free of effects
}

// New returns a Classifier that takes the named functions for free of effects,
// beside those of the server: "similarity", or "app.score" where statements call
// it so. Case does not matter. A name of another form is an error.
func New(d Dialect, reads ...string) (*Classifier, error) {
	c := &Classifier{dialect: d}
	if d > MySQL {
		return nil, fmt.Errorf("sqlclass: dialect is %d, want PostgreSQL or MySQL", d)
	}
	var errs []error
	for _, fn := range reads {
		l := lexer{text: fn, dialect: d}
		l.next()
		ok := l.kind == ident
		for ok && l.end < len(fn) {
			l.next()
			ok = l.kind == symbol && fn[l.start] == '.'
			l.next()
			ok = ok && l.kind == ident
		}
		if !ok || len(fn) > longest || strings.ContainsAny(fn, " \t\n") {
			errs = append(errs, fmt.Errorf("sqlclass: read function is %q, want a name of at most %d bytes, qualified or not", fn, longest))
			continue
		}
		if c.reads == nil {
			c.reads = make(map[string]bool)
		}
		c.reads[strings.ToLower(fn)] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// Classify tells what a statement does. It allocates nothing and takes time
// in proportion to the text.
func Classify(d Dialect, query string) Statement {
	c := Classifier{dialect: d}
	return c.Classify(query)
}

// Classify tells what a statement does, as the function does, with the declared
// functions known.
func (c *Classifier) Classify(query string) Statement {
	p := pass{lexer: lexer{text: query, dialect: c.dialect}, reads: c.reads}
	var all Statement
	count := 0
	p.advance()
	for p.kind != atEnd && p.kind != invalid {
		if p.word == symbols+';' {
			p.advance()
			continue
		}
		s := p.statement()
		count++
		if count == 1 {
			all = s
			continue
		}
		all = after(all, s)
	}
	if count == 0 {
		all.Reason = ByVerb // nothing but white space and comments
	}
	if p.kind == invalid {
		all.Reason = BySyntax
		if all.Class != Write {
			all.Class = Unsure
		}
	}
	all.Hint = p.hint
	return all
}

// after returns what a text does of which all is what came before and s the next
// statement.
func after(all, s Statement) Statement {
	if s.Class == Write || all.Class == Write {
		all.Class = Write
	} else {
		all.Class = Unsure
	}
	all.Reason = ByMany
	all.Effects |= s.Effects
	if s.Tx != NoTx && (s.Tx != Savepoint || all.Tx == NoTx) {
		all.Tx = s.Tx
	}
	return all
}

// pass goes over one text.
type pass struct {
	lexer
	reads map[string]bool // functions that were declared to be free of effects

	word   word    // of the token
	p1, p2 word    // of the two tokens before it
	chain  chain   // the name that the tokens before it make up
	verb   word    // the first word of the statement
	wrote  Reason  // the first found why it writes
	unsure Reason  // the first found why it may write, or must not go to a replica
	ties   Effects // found so far
}

// chain is a name with its qualifiers, such as pg_catalog.now. A keyword is one
// of a single part.
type chain struct {
	last, end int  // of the last part; end is 0 if there is no chain
	parts     int  // of the name
	word      word // its keyword; name or quote if it is none
	quoted    bool // a part is quoted
	catalog   bool // a part names the system catalog
	builtin   bool // the first part is pg_catalog
	b1, b2    word // of the two tokens before it
}

// advance goes to the next token.
func (p *pass) advance() {
	p.p2, p.p1 = p.p1, p.word
	p.next()
	switch p.kind {
	case ident:
		p.word = name // a qualified keyword is a name
		if p.p1 != symbols+'.' {
			p.word = p.keyword(p.start, p.end)
		}
	case quoted:
		p.word = quote
	case literal:
		p.word = value
	case cast:
		p.word = castTo
	case assign:
		p.word = symbols + '='
	case variable:
		p.word = symbols + '@'
	case symbol:
		p.word = symbols + word(p.text[p.start])
	default:
		p.word = none
	}
}

// longest is the length of the longest name that is known.
const longest = 32

// fold copies a piece of the text in lower case. What is too long for anything
// known becomes empty.
func (p *pass) fold(buf *[longest]byte, start, end int) []byte {
	if end-start > longest {
		return nil
	}
	for i := start; i < end; i++ {
		c := p.text[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		buf[i-start] = c
	}
	return buf[:end-start]
}

func (p *pass) keyword(start, end int) word {
	if end-start == 1 {
		return name // an alias, most of the time
	}
	var buf [longest]byte
	w := keyword(p.fold(&buf, start, end))
	if w == kReservedPG && p.dialect != PostgreSQL || w == kReservedMy && p.dialect != MySQL {
		return name
	}
	return w
}

// done reports whether the statement has ended.
func (p *pass) done() bool {
	return p.kind == atEnd || p.kind == invalid || p.word == symbols+';'
}

// statement classifies the statement at whose first token the pass stands, and
// leaves it at the token that ends it.
func (p *pass) statement() Statement {
	p.p1, p.p2, p.chain = none, none, chain{}
	p.wrote, p.unsure, p.ties = IsRead, IsRead, 0
	for p.word == symbols+'(' {
		p.advance()
	}
	p.verb = none
	if p.kind == ident {
		p.verb = p.word
	}
	switch p.verb {
	case kSelect, kValues, kTable, kWith:
		p.scan()
		return p.read()
	case kExplain:
		p.advance()
		p.explained()
		p.scan()
		return p.read()
	}
	if !p.done() {
		p.advance()
	}
	s := p.command()
	if s.Class == Unsure || s.Class == Write {
		s.Reason = cmp.Or(s.Reason, ByVerb)
	} else {
		s.Reason = BySession
	}
	p.scan()
	s.Effects |= p.ties
	return s
}

// read puts together what was found in a statement that begins as a read.
func (p *pass) read() Statement {
	s := Statement{Class: Read, Effects: p.ties}
	switch {
	case p.wrote != IsRead:
		s.Class, s.Reason = Write, p.wrote
	case p.unsure != IsRead:
		s.Class, s.Reason = Unsure, p.unsure
	case p.ties != 0:
		s.Class, s.Reason = Session, BySession
	}
	return s
}

// explained passes the options of an EXPLAIN, up to the statement that it explains.
func (p *pass) explained() {
	options := p.word == symbols+'('
	for !p.done() {
		switch p.word {
		case kSelect, kValues, kTable, kWith:
			return
		case kAnalyze:
			p.doubt(ByNode) // the time it takes is that of the node
		case kVerbose, kExtended, kPartitions, kFormat, symbols + '(', symbols + '=', value:
		case symbols + ')':
			options = false
		default:
			if !options && p.p1 != symbols+'=' { // FORMAT=JSON
				p.doubt(ByVerb)
				return
			}
		}
		p.advance()
	}
	p.doubt(ByVerb)
}

// doubt notes why the statement cannot be called a read.
func (p *pass) doubt(r Reason) { p.unsure = cmp.Or(p.unsure, r) }

// write notes why the statement is a write.
func (p *pass) write(r Reason) { p.wrote = cmp.Or(p.wrote, r) }

// scan passes the rest of the statement and notes what it finds.
func (p *pass) scan() {
	for !p.done() {
		switch p.kind {
		case ident:
			if p.p1 != symbols+'.' && p.p1 != kAs { // any word may be an alias
				p.bare()
			}
			p.part()
		case quoted:
			p.part()
		case symbol:
			switch c := p.text[p.start]; {
			case c == '.' && p.chain.end != 0:
				p.qualifier()
			case c == '(' && p.chain.end != 0:
				p.call()
				p.chain = chain{}
			case c == '(' && p.p1 == value:
				p.doubt(BySyntax) // a name in another dialect
			default:
				p.named()
			}
		case variable:
			p.named()
			switch {
			case p.p1 == symbols+'@': // the second of two
			case p.at(p.pos) == '@':
				p.doubt(ByNode)
			default:
				p.ties |= Memory
			}
		case assign:
			p.named()
			if p.dialect == MySQL {
				p.ties |= Memory
			}
		default:
			p.named()
		}
		p.advance()
	}
	p.named()
}

// bare looks at an identifier without a qualifier, which may be a keyword.
func (p *pass) bare() {
	switch p.word {
	case kInsert:
		if p.dialect == MySQL && p.at(p.pos) == '(' {
			return // the function INSERT()
		}
		p.write(ByWrite)
	case kDelete, kInto:
		p.write(ByWrite)
	case kUpdate:
		if p.p1 == kFor || p.p1 == kKey {
			p.write(ByRowLock)
		}
		p.write(ByWrite)
	case kShare, kNo, kKey:
		if p.p1 == kFor || p.p1 == kKey {
			p.write(ByRowLock)
		}
	case kTemporary:
		switch p.p1 {
		case kInto, kLocal, kGlobal, kCreate, kReplace, kDrop:
			p.ties |= TempTable
		}
	}
	if p.dialect != MySQL {
		return
	}
	switch p.word {
	case kLock:
		p.write(ByRowLock) // LOCK IN SHARE MODE
	case kFor:
		if p.p1 == kValue {
			p.write(ByFunction) // NEXT VALUE FOR
		}
	case kProcedure:
		p.doubt(BySyntax) // PROCEDURE ANALYSE
	case kCalcFoundRows:
		p.ties |= Memory
	}
}

// watched are the first letters of the names that part looks for.
var watched = [256]bool{'c': true, 'i': true, 'l': true, 'n': true, 'p': true, 'r': true}

// part adds the token to the chain, or begins another.
func (p *pass) part() {
	start, end := p.start, p.end
	if p.p1 == symbols+'.' && p.chain.end != 0 {
		p.chain.parts++
		p.chain.word = name
	} else {
		p.named()
		p.chain = chain{parts: 1, word: p.word, b1: p.p1, b2: p.p2}
		if p.p1 == symbols+'.' {
			p.chain.parts++ // a field of an expression
		}
	}
	p.chain.last, p.chain.end = start, end
	if p.kind == quoted {
		p.chain.quoted = true
		start, end = start+1, end-1
	}
	if !watched[p.at(start)|0x20] {
		return
	}
	var buf [longest]byte
	switch part := p.fold(&buf, start, min(end, start+longest)); {
	case p.dialect == MySQL:
		switch string(part) {
		case "information_schema", "performance_schema":
			p.chain.catalog = true
		case "nextval", "currval", "lastval":
			if p.chain.parts > 1 {
				p.write(ByFunction) // of MariaDB in the mode of Oracle
			}
		}
	case len(part) > 3 && part[0] == 'p' && part[1] == 'g' && part[2] == '_':
		p.chain.catalog = true
		switch {
		case string(part) == "pg_catalog":
			p.chain.builtin = p.chain.parts == 1 && !p.chain.quoted
		case len(part) >= 7 && string(part[:7]) == "pg_temp":
			p.ties |= TempTable
		}
	case string(part) == "information_schema":
		p.chain.catalog = true
	case keyword(part) == kRegclass:
		p.doubt(ByCatalog)
	}
}

// qualifier looks at a chain that a dot follows.
func (p *pass) qualifier() {
	if p.dialect != MySQL || p.chain.parts != 1 {
		return
	}
	start, end := p.chain.last, p.chain.end
	if p.chain.quoted {
		start, end = start+1, end-1
	}
	var buf [longest]byte
	switch string(p.fold(&buf, start, end)) {
	case "mysql", "sys":
		p.chain.catalog = true
	}
}

// named ends the chain as the name of something other than a function.
func (p *pass) named() {
	c := &p.chain
	aType := c.builtin && c.parts == 2 && (c.b1 == castTo || c.b1 == kAs)
	if c.catalog && !aType {
		p.doubt(ByCatalog)
	}
	p.chain = chain{}
}

// call looks at a chain that an opening parenthesis follows.
func (p *pass) call() {
	c := &p.chain
	switch {
	case c.b1 == kAs, c.b1 == castTo, c.b1 == kWith, c.b1 == kRecursive && c.b2 == kWith:
		// an alias or a common table with its columns, a type with its modifiers
		if c.catalog && !c.builtin {
			p.doubt(ByCatalog)
		}
		return
	case c.parts == 1 && !c.quoted && p.opens(c):
		return
	case c.b1 == symbols+',' && p.verb == kWith && p.columns():
		return
	}
	v := unknown
	if !c.quoted && (c.parts == 1 || c.parts == 2 && c.builtin) {
		var buf [longest]byte
		fn := p.fold(&buf, c.last, c.end)
		switch {
		case p.dialect == PostgreSQL:
			v = postgresFunction(fn)
		case c.end == p.start:
			// With a space before the parenthesis MySQL takes some names for those of stored
			// functions.
			v = mysqlFunction(fn)
		}
	}
	if v == unknown && p.declared(c) {
		return
	}
	switch v {
	case writes:
		p.write(ByFunction)
	case settings:
		p.ties |= Setting
	case locks:
		p.ties |= Lock
	case memory:
		p.ties |= Memory
	case unknown:
		p.doubt(ByFunction)
	}
}

// opens reports whether the chain is a keyword after which a parenthesis opens
// something other than a list of arguments.
func (p *pass) opens(c *chain) bool {
	operand := c.b1 == name || c.b1 == quote || c.b1 == value || c.b1 == symbols+')' || c.b1 == symbols+']'
	switch c.word {
	case kReserved, kReservedPG, kReservedMy, kCharacter, kAs, kFor, kGroup, kNot, kOnly, kSelect, kTo, kValues, kWith:
		return true
	case kKey, kPartition, kUse:
		return p.dialect == MySQL
	case kFilter:
		return c.b1 == symbols+')' || c.b1 == value
	case kBy:
		return c.b1 == kGroup || c.b1 == kOrder || c.b1 == kPartition
	case kJoin:
		return operand || c.b1 == kOuter
	case kVarying:
		return c.b1 == kCharacter
	case kMaterialized:
		return c.b1 == kAs || c.b1 == kNot && c.b2 == kAs
	case kRollup:
		return c.b1 == kBy && c.b2 == kGroup
	case kSets:
		return c.b1 == kGrouping
	case kSample:
		return c.b1 == kTablesample
	case kSome:
		return c.b1 == symbols+'=' || c.b1 == symbols+'<' || c.b1 == symbols+'>'
	}
	return false
}

// columns reports whether the parenthesis holds the columns of a common table
// that is not the first of its WITH: names alone, then AS and a query. A function
// in FROM with the columns of its record looks the same up to the query.
func (p *pass) columns() bool {
	l := p.lexer
	for {
		if l.next(); l.kind != ident && l.kind != quoted {
			return false
		}
		if l.next(); l.kind != symbol {
			return false
		}
		if c := l.text[l.start]; c == ')' {
			break
		} else if c != ',' {
			return false
		}
	}
	word := func() word {
		l.next()
		if l.kind != ident {
			return none
		}
		return p.keyword(l.start, l.end)
	}
	if word() != kAs {
		return false
	}
	w := word()
	for w == kNot || w == kMaterialized {
		w = word()
	}
	if l.kind != symbol || l.text[l.start] != '(' {
		return false
	}
	w = word()
	return w == kSelect || w == kWith
}

// declared reports whether the user has declared the function free of effects.
func (p *pass) declared(c *chain) bool {
	if p.reads == nil || c.quoted {
		return false
	}
	var buf [longest]byte
	start := c.last
	for range c.parts - 1 {
		// the qualifiers stand right before, or the name is not looked up
		if start == 0 || p.text[start-1] != '.' {
			return false
		}
		for start--; start > 0 && table[p.text[start-1]]&(letter|digit) != 0; start-- {
		}
	}
	return p.reads[string(p.fold(&buf, start, c.end))]
}
