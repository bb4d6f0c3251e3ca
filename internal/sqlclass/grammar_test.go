package sqlclass

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// grammar writes statements of PostgreSQL over the tables of testdata/schema.sql.
// Each is valid; whether it reads is known from the way it was made.
type grammar struct {
	*rand.Rand
	poison string // an expression of type int that goes in once, where one is wanted; "" for none
	depth  int
}

func (g *grammar) one(choices ...string) string { return choices[g.IntN(len(choices))] }

// number writes an expression of type int over the columns of users, alias u.
func (g *grammar) number() string {
	if g.poison != "" && g.IntN(4) == 0 {
		p := g.poison
		g.poison = ""
		return p
	}
	if g.depth > 3 {
		return g.one("1", "u.id", "u.\"for\"", "-7", "0", "u.manager")
	}
	g.depth++
	defer func() { g.depth-- }()
	switch g.IntN(14) {
	case 0:
		return g.number() + g.one(" + ", " - ", " % 97 + ", " / nullif(1, 0) + ", "-/* minus */") + g.number()
	case 1:
		return "abs(" + g.number() + ")"
	case 2:
		return "coalesce(" + g.number() + ", " + g.number() + ")"
	case 3:
		return "length(" + g.text() + ")"
	case 4:
		return "(case when " + g.boolean() + " then " + g.number() + " else " + g.number() + " end)"
	case 5:
		return "greatest(" + g.number() + ", " + g.number() + ")"
	case 6:
		return "(select count(*)::int from orders o where o.user_id = " + g.number() + ")"
	case 7:
		return "extract(" + g.one("year", "day", "epoch") + " from " + g.instant() + ")::int % 9"
	case 8:
		return "(" + g.number() + ")::numeric(20, 2)::int"
	case 9:
		return "cast(" + g.number() + " as " + g.one("int", "integer", "pg_catalog.int4") + ")"
	case 10:
		return "coalesce((u.doc->>'n')::int, " + g.number() + ")"
	case 11:
		return "cardinality(" + g.one("u.tags", "array[1, 2]", "string_to_array("+g.text()+", ',')") + ")"
	case 12:
		return "position(" + g.text() + " in " + g.text() + ")"
	}
	return g.one("1", "42", "u.id", "u.update", "\"u\".\"id\"", "u . id")
}

// text writes an expression of type text.
func (g *grammar) text() string {
	if g.depth > 3 {
		return g.one("'x'", "u.name", "''", "'it''s'", "$$a$$", "e'\\n'")
	}
	g.depth++
	defer func() { g.depth-- }()
	switch g.IntN(12) {
	case 0:
		return g.one("lower", "upper", "trim", "md5", "reverse", "initcap", "pg_catalog.btrim") + "(" + g.text() + ")"
	case 1:
		return g.text() + " || " + g.text()
	case 2:
		return "substring(" + g.text() + " from 1 for " + g.one("1", "2", "length("+g.text()+")") + ")"
	case 3:
		return "coalesce(" + g.text() + ", " + g.text() + ")"
	case 4:
		return g.one(
			"'for update'", "'; delete from users; --'", "'-- no comment'", "'/* no comment'", "'$$'",
			"$$for update; $x$ '$$", "$tag$ insert into $ta$ $tag$", "$ä$ x $ä$", "e'it\\'s for update'", "E'\\\\'", "'a\\d'",
			"U&'d\\0061t'", "'a'\n'b'", "e'a''\\''", "'\"'", "n'x'",
		)
	case 5:
		return "to_char(" + g.instant() + ", 'YYYY')"
	case 6:
		return "(" + g.number() + ")::text"
	case 7:
		return "format('%s %L', " + g.text() + ", " + g.text() + ")"
	case 8:
		return "(" + g.text() + ")::varchar(30)"
	case 9:
		return "overlay(" + g.text() + " || 'abc' placing 'x' from 1 for 2)"
	}
	return g.one("u.name", "u.email", "'x'", "u.mood::text", "(u.\"update\")::text", "(u.doc->>'name')", "cast(u.id as varchar(9))")
}

// instant writes an expression of type timestamptz.
func (g *grammar) instant() string {
	return g.one("now()", "u.created", "current_timestamp(3)", "timestamptz '2020-01-01'", "clock_timestamp()",
		"date_trunc('day', u.created)", "now() - interval '1 day'", "make_timestamptz(2020, 1, 1, 0, 0, 0)", "localtimestamp::timestamptz")
}

// boolean writes a condition.
func (g *grammar) boolean() string {
	if g.depth > 3 {
		return g.one("true", "u.id > 0", "u.name is not null")
	}
	g.depth++
	defer func() { g.depth-- }()
	switch g.IntN(13) {
	case 0:
		return g.boolean() + g.one(" and ", " or ", " AND NOT ", " or/**/") + g.boolean()
	case 1:
		return "(" + g.boolean() + ")"
	case 2:
		return g.number() + g.one(" in (", " not in (") + g.number() + ", " + g.number() + ")"
	case 3:
		return "exists (select from orders o where o.user_id = " + g.number() + ")"
	case 4:
		return g.text() + g.one(" like ", " ilike ", " ~ ", " not like ") + g.one("'a%'", "'\\d+'", "('x' || '_')")
	case 5:
		return g.number() + " between " + g.number() + " and (" + g.number() + ")"
	case 6:
		return g.number() + g.one(" = any (array[", " <> all(array[") + g.number() + "])"
	case 7:
		return g.one("u.doc @> '{\"a\": 1}'", "u.doc ? 'a'", "u.tags && array['x']", "u.doc #>> '{a,b}' = 'c'", "u.doc @? '$.a[*] ? (@ > 1)'")
	case 8:
		return "(" + g.number() + ", " + g.text() + ") = (" + g.number() + ", " + g.text() + ")"
	case 9:
		return g.text() + g.one(" is null", " is distinct from ''", " = ''", " > 'b'")
	case 10:
		return "u.id in (select o.user_id from orders o where o.total > " + g.number() + ")"
	case 11:
		return "u.mood = " + g.one("'ok'", "'sad'::mood", "any ('{ok}'::mood[])")
	}
	return g.number() + g.one(" < ", " >= ", "=", "<>", " != ") + g.number()
}

// query writes a SELECT or what stands for one, without a semicolon.
func (g *grammar) query() string {
	limit := g.one("", "", " limit 3", " limit (1 + 1) offset 1", " fetch first 2 rows only", " offset 0 rows")
	switch g.IntN(13) {
	case 0:
		return "select " + g.number() + ", " + g.text() + " from users u where " + g.boolean() + limit
	case 1:
		return "SELECT u.*, o.total AS \"for update\" FROM users AS u " + g.one("JOIN", "LEFT JOIN", "inner join") +
			" orders o ON (o.user_id = u.id) WHERE " + g.boolean() + " ORDER BY (" + g.number() + ") + 0" + g.one("", " desc nulls last") + limit
	case 2:
		return "with t as " + g.one("", "materialized ", "not materialized ") + "(select " + g.number() + " as n from users u), w (a, b) as (select n, " +
			g.number() + " from t cross join users u) select * from w where a = " + g.one("1", "any (select n from t)")
	case 3:
		return "with recursive r(n) as (values (1) union all select n + 1 from r where n < 5) select n, " + g.number() + " from r, users u"
	case 4:
		return "values (" + g.one("1", "2") + ", " + g.one("'a'", "$$b$$") + "), (3, lower('C'))"
	case 5:
		return "(select " + g.number() + " from users u)" + g.one(" union ", " union all ", " intersect ", " except ") + "(select " + g.number() + " from users u) order by 1"
	case 6:
		return "select count(*) filter (where " + g.boolean() + "), sum(" + g.number() + "), string_agg(u.name, ',' order by u.id) from users u group by u.mood having count(*) > 0"
	case 7:
		return "select u.id, row_number() over (partition by u.mood order by " + g.number() + "), sum(u.id) over w from users u window w as (order by u.id rows between 1 preceding and current row)"
	case 8:
		return "select u.name, l.* from users u, lateral (select " + g.number() + " as x) l" + limit
	case 9:
		return "select distinct on (u.mood) u.mood, " + g.text() + " from users u order by u.mood"
	case 10:
		return "select x.n, " + g.number() + " from generate_series(1, 3) as x(n), users u tablesample " + g.one("bernoulli (50)", "system (50) repeatable (1)") + " where " + g.boolean()
	case 11:
		return "select * from jsonb_to_recordset('[{\"a\":1}]') as x(a int, b varchar(9)), users u where " + g.boolean()
	}
	return g.one("explain ", "explain (costs off) ", "explain verbose ", "EXPLAIN (FORMAT JSON, COSTS FALSE) ") + "select " + g.number() + " from users u where " + g.boolean()
}

// dress puts comments, white space and semicolons around and between, where they
// change nothing.
func (g *grammar) dress(query string) string {
	switch g.IntN(9) {
	case 0:
		query = "/* app: 'x */ " + query
	case 1:
		query = "-- it's for update;\n" + query
	case 2:
		query += g.one(";", " ; ", ";;", "; -- end", "; /* a; b */")
	case 3:
		query = strings.Replace(query, " from ", "\n/* /* nested */ from nowhere */\tfrom\r\n", 1)
	case 4:
		query = "/*" + strings.Repeat("*", g.IntN(4)) + "*/" + query + "/**/"
	case 5:
		query = strings.Replace(query, " where ", " --'\n WHERE ", 1)
	case 6:
		query = strings.Replace(query, "select ", "SeLeCt/*--*/", 1)
	}
	return query
}

// read writes a statement that only reads.
func (g *grammar) read() string { return g.dress(g.query()) }

// effects are expressions of type int that do more than read.
var effects = []string{
	"nextval('seq')::int", "setval('seq', 7)::int", "(select setval('seq', 8))::int", "pg_catalog.nextval('seq')::int", "NEXTVAL ('seq')::int",
	"nextval/**/('seq')::int", "\"nextval\"('seq')::int", "pg_catalog.\"nextval\" ( 'seq')::int",
	"evil(1)", "evil( 1 )", "public.evil(1)", "public . evil(1)", "\"evil\"(1)", "\"Evil One\"(1)", "EVIL(1)", "évil(1)", "app.lower(1)", "app.\"lower\"(1)",
	"by(1)", "over(1)", "filter(1)", "\"join\"(1)", "join(1)", "sets(1)", "rollup(1)", "cube(1)", "system(1)", "columns(1)", "against(1)", "repeatable(1)",
	"materialized(1)", "recursive(1)", "value(1)", "temporary(1)", "partition(1)", "bernoulli(1)", "\"select\"(1)", "\"as\"(1)", "app.as(1)", "app.select(1)",
	"app.values(1)", "within(1)", "ordinality(1)", "lock(1)", "key(1)", "ilike(1)", "similar(1)", "inner(1)", "escape(1)",
	"(select txid_current())::int", "length(pg_advisory_lock(1)::text)", "pg_try_advisory_lock(2)::int", "pg_catalog.pg_try_advisory_lock_shared(2)::int",
	"length(set_config('work_mem', (64 + random() * 1000)::int || 'MB', false))", "length(pg_notify('a', 'b')::text)", "lo_creat(-1)::int", "lo_create(0)::int",
	"length(pg_create_restore_point('x')::text)", "length(pg_logical_emit_message(true, 'a', 'b')::text)",
	"length(setseed(0.5)::text) + length(nextval('seq')::text)", "length(query_to_xml('select evil(1)', true, false, '')::text)",
	"(select * from evil(1))", "(select e from evil(1) as e)", "(select e.* from evil(1) e(x))",
	"(select count(*) from rows from (evil(1), evil(1)))::int", "1 operator(pg_catalog.+) evil(2)", "(array[evil(1)])[1]",
	"(with w as (select evil(1) as e) select e from w)", "(with w(a) as (select 1), evil as (select evil(1) as e) select e from evil)",
}

// write writes a statement that does more than read, though it looks like one that
// only reads.
func (g *grammar) write() string {
	switch g.IntN(6) {
	case 0:
		lock := g.one("for update", "FOR UPDATE", "for share", "for no key update", "for key share", "for update of u", "for share skip locked",
			"for\nupdate", "for/*'*/update", "for--'\n update", "for\tno\rkey update")
		return g.dress("select u.id, " + g.text() + " from users u where u.id > 0 " + lock)
	case 1:
		dml := g.one("insert into orders values (1 + (select coalesce(max(id), 0) from orders), 1)", "update users set name = name", "delete from orders",
			"INSERT/**/INTO orders values (nextval('seq') + 1000, 1)", "update only users as x set name = x.name")
		return g.dress("with u as (" + dml + " returning *) select " + g.one("*", "count(*)", "1") + " from u")
	case 2:
		return g.trap()
	default:
		for {
			effect := effects[g.IntN(len(effects))]
			query := (&grammar{Rand: g.Rand, poison: effect}).query()
			if strings.Contains(query, effect) && !strings.HasPrefix(strings.ToLower(query), "explain") {
				return g.dress(query)
			}
		}
	}
}

// trap hides a row lock from a lexer that is not that of PostgreSQL.
func (g *grammar) trap() string {
	hidden := g.one("for update", "for share", "for no key update")
	return fmt.Sprintf(g.one(
		"select a$b$, u.id from (select 1 as a$b$, 2 as x$b$) s, users u %s of u -- , x$b$",
		"select 1 /* /* */ ' */ from users u %s -- '",
		"select '\\\\' from users u %s -- '",
		"select e'\\\\' from users u %s -- '",
		"select e'\\'' || '' from users u %s -- '",
		"select $a$ $ $a$ from users u %s -- $a$",
		"select $$ $a$ $$ from users u %s -- $a$",
		"select \"a\"\"b\" from (select 1 as \"a\"\"b\") s, users u %s of u -- \"",
		"select \"\\\" from (select 1 as \"\\\") s, users u %s of u -- \"",
		"select 1 from users u --\r%s",
		"select 1 from users u -- /*\n%s -- */",
		"select 1 from users u /* -- */ %s",
		"select 1 from users u /* ' */ %s /* ' */",
		"select 1 as \"for\" from users u %s",
		"select u.id from users u where u.name = 'x'%s",
		"select u.id from users u where u.id = (1)%s",
		"table users %s",
		"(select u.id from users u %s)",
		"select * from (select u.id from users u %s) s",
		"with s as (select u.id from users u %s) select * from s",
		"select (select u.id from users u limit 1 %s)",
		"select 1 # 2 from users u %s",
		"select 1 from users u where u.doc #- '{}' is null %s",
		"select 1--1\nfrom users u %s",
	), hidden)
}
