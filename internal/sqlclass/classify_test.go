package sqlclass

import "testing"

// row is a statement and what it is.
type row struct {
	query   string
	class   Class
	reason  Reason
	effects Effects
}

func check(t *testing.T, d Dialect, rows []row) {
	t.Helper()
	for _, r := range rows {
		s := Classify(d, r.query)
		if s.Class != r.class || s.Reason != r.reason || s.Effects != r.effects {
			t.Errorf("%v: %s\n\tis %v by %v, effects %b; want %v by %v, effects %b",
				d, r.query, s.Class, s.Reason, s.Effects, r.class, r.reason, r.effects)
		}
		if s.Replica() != (r.class == Read) {
			t.Errorf("%v: %s\n\tReplica() is %v", d, r.query, s.Replica())
		}
	}
}

func TestReadsOfPostgreSQL(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"select 1",
		"select 1;",
		" ; select 1 ; -- done",
		"SELECT name FROM users WHERE id = $1",
		"((select 1) union all (select 2)) order by 1",
		"values (1, 'a'), (2, 'b')",
		"table users",
		"with t(a, b) as (select 1, 2), u (c) as not materialized (select 3), v as materialized (select 4) select * from t, u where a in (1, 2)",
		"with recursive t(n) as (values (1) union all select n + 1 from t where n < 9) select n from t",
		"select count(*) filter (where x > 1) over (partition by y order by (z)) from t window w as (partition by a)",
		"select x::numeric(10, 2), cast(x as varchar(10)), y::pg_catalog.int4 from t where a = any (array[1]) and b = some (select 1)",
		"select a from t join (select 1 as a) u using (a) left join lateral (select 2) v on (true)",
		"select a from t group by grouping sets ((a), ()), b",
		"select a from t group by rollup (a)",
		"select substring(a from 2 for 3), overlay(a placing 'x' from 1 for 2), extract(year from b) from t",
		"select pg_catalog.lower(a), \"a\".\"b\" from a tablesample system (10) repeatable (1)",
		"select e'it\\'s', 'a''b', $$;$$, $a$ for update $a$, u from t as u(a, b)",
		"select '{\"a\": 1}'::jsonb @> '{}' and a ? 'b' and a - '#x' = '' from t",
		"select /* for update /* nested */ */ 1 -- for update",
		"select 'a\\d+' ~ 'b\\\\'",
		"select \"for\", t.update, t.insert, lock, share, key from t",
		"explain (costs off, format json) select 1",
		"explain verbose (select 1)",
		"select now(), current_timestamp(3), random(), gen_random_uuid(), pg_sleep(0.005)",
		"select * from rows from (generate_series(1, 3), unnest(array[1])) as t(a, b)",
	} {
		check(t, PostgreSQL, []row{{query, Read, IsRead, 0}})
	}
}

func TestStatementsOfPostgreSQL(t *testing.T) {
	t.Parallel()
	check(t, PostgreSQL, []row{
		{"", Unsure, ByVerb, 0},
		{"-- ping", Unsure, ByVerb, 0},
		{"insert into t values (1) returning id", Write, ByVerb, 0},
		{"select * from t for update", Write, ByRowLock, 0},
		{"select * from t for no key update skip locked", Write, ByRowLock, 0},
		{"select * from t for key share", Write, ByRowLock, 0},
		{"select * from t FOR/**/SHARE of t nowait", Write, ByRowLock, 0},
		{"with x as (delete from t returning *) select * from x", Write, ByWrite, 0},
		{"with x as (select 1) insert into t select * from x", Write, ByWrite, 0},
		{"with x as (select 1) merge into t using x on true when matched then delete", Write, ByWrite, 0},
		{"select 1 into t", Write, ByWrite, 0},
		{"select 1 into temp table t", Write, ByWrite, TempTable},
		{"explain insert into t values (1)", Write, ByWrite, 0},
		{"explain analyze select 1", Unsure, ByNode, 0},
		{"explain (analyze, buffers) delete from t", Write, ByWrite, 0},
		{"explain execute p", Unsure, ByVerb, 0},
		{"select nextval('s')", Write, ByFunction, 0},
		{"select f(1)", Unsure, ByFunction, 0},
		{"select s.lower(1)", Unsure, ByFunction, 0},
		{"select \"lower\"(1)", Unsure, ByFunction, 0},
		{"select pg_temp.lower(1)", Unsure, ByFunction, TempTable},
		{"select * from pg_class", Unsure, ByCatalog, 0},
		{"select * from information_schema.tables", Unsure, ByCatalog, 0},
		{"select count(*) from \"information_schema\".\"tables\"", Unsure, ByCatalog, 0},
		{"select * from pg_catalog.pg_class", Unsure, ByCatalog, 0},
		{"select 't'::regclass", Unsure, ByCatalog, 0},
		{"select 't'::\"regclass\"", Unsure, ByCatalog, 0},
		{"select cast('t' as pg_catalog.regclass)", Unsure, ByCatalog, 0},
		{"select pg_advisory_lock(1)", Session, BySession, Lock},
		{"select pg_advisory_xact_lock(1)", Unsure, ByFunction, 0},
		{"select set_config('a.b', 'c', false)", Session, BySession, Setting},
		{"select currval('s')", Session, BySession, Memory},
		{"set search_path = a", Session, BySession, Setting},
		{"set local search_path = a", Session, BySession, 0},
		{"reset all", Session, BySession, Setting},
		{"discard all", Session, BySession, Setting},
		{"listen a", Session, BySession, Listen},
		{"unlisten *", Session, BySession, Listen},
		{"notify a", Write, ByVerb, 0},
		{"prepare p as delete from t", Session, BySession, Prepared},
		{"execute p", Unsure, ByVerb, Prepared},
		{"declare c cursor with hold for select 1", Session, BySession, Cursor},
		{"fetch all from c", Session, BySession, Cursor},
		{"create temp table t (a int)", Write, ByVerb, TempTable},
		{"create or replace temp view v as select 1", Write, ByVerb, TempTable},
		{"create table pg_temp.t (a int)", Write, ByVerb, TempTable},
		{"create table t (temp int)", Write, ByVerb, 0},
		{"lock table t", Write, ByVerb, 0},
		{"copy t from stdin", Write, ByVerb, 0},
		{"call p()", Write, ByVerb, 0},
		{"do $$ begin end $$", Write, ByVerb, 0},
		{"show search_path", Unsure, ByNode, 0},
		{"select 1; select 2", Unsure, ByMany, 0},
		{"select 1; set a = 1", Unsure, ByMany, Setting},
		{"select 1; delete from t", Write, ByMany, 0},
		{"select 'a", Unsure, BySyntax, 0},
		{"select $a$ b $A$", Unsure, BySyntax, 0},
		{"select /* /* */ 1", Unsure, BySyntax, 0},
	})
}

// What a prototype took for reads.
func TestWhatFooledThePrototype(t *testing.T) {
	t.Parallel()
	check(t, MySQL, []row{
		{"select 1--1 for update", Write, ByRowLock, 0},
		{"select 1 # it's\n for update -- '", Write, ByRowLock, 0},
		{"select 1 /* /* */ for update -- */ */", Write, ByRowLock, 0},
		{`select "\" for update -- "`, Unsure, BySyntax, 0},
	})
	check(t, PostgreSQL, []row{
		{"select a$b$ , 1 from t for update , x$b$", Write, ByRowLock, 0},
		{"select pg_promote()", Unsure, ByFunction, 0},
		{"select pg_wal_replay_pause()", Unsure, ByFunction, 0},
		{"select pg_switch_wal()", Unsure, ByFunction, 0},
		{"select pg_replication_slot_advance('a', '0/0')", Unsure, ByFunction, 0},
		{"select lo_creat(1)", Unsure, ByFunction, 0},
		{"select dblink('', 'delete from t')", Unsure, ByFunction, 0},
		{"select pg_export_snapshot()", Unsure, ByFunction, 0},
	})
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		d     Dialect
		query string
		want  Tx
	}{
		{PostgreSQL, "begin", Begin},
		{PostgreSQL, "BEGIN WORK ISOLATION LEVEL REPEATABLE READ", Begin},
		{PostgreSQL, "begin read only", BeginReadOnly},
		{PostgreSQL, "begin transaction isolation level repeatable read, read only", BeginReadOnly},
		{PostgreSQL, "start transaction read/**/only, not deferrable;", BeginReadOnly},
		{PostgreSQL, "begin isolation level serializable read only deferrable", Begin}, // 0A000 on a standby
		{PostgreSQL, "begin read only, read write", Begin},
		{PostgreSQL, "begin read write", Begin},
		{PostgreSQL, "commit", Commit},
		{PostgreSQL, "end work", Commit},
		{PostgreSQL, "commit and chain", Chain},
		{PostgreSQL, "commit and no chain", Commit},
		{PostgreSQL, "prepare transaction 'x'", Commit},
		{PostgreSQL, "commit prepared 'x'", NoTx},
		{PostgreSQL, "rollback", Rollback},
		{PostgreSQL, "abort transaction", Rollback},
		{PostgreSQL, "rollback and chain", Chain},
		{PostgreSQL, "rollback to a", Savepoint},
		{PostgreSQL, "rollback transaction to savepoint a", Savepoint},
		{PostgreSQL, "savepoint a", Savepoint},
		{PostgreSQL, "release a", Savepoint},
		{PostgreSQL, "select 1", NoTx},
		{PostgreSQL, "begin; select 1", Begin},
		{PostgreSQL, "begin; savepoint a; select 1", Begin},
		{PostgreSQL, "begin; delete from t; commit", Commit},
		{PostgreSQL, "commit; begin read only", BeginReadOnly},
		{MySQL, "start transaction read only", BeginReadOnly},
		{MySQL, "start transaction with consistent snapshot", Begin},
		{MySQL, "begin work", Begin},
		{MySQL, "begin not atomic select 1; end", NoTx},
		{MySQL, "commit and chain no release", Chain},
		{MySQL, "rollback work to savepoint a", Savepoint},
	} {
		if s := Classify(tt.d, tt.query); s.Tx != tt.want {
			t.Errorf("%v: %s is %d, want %d", tt.d, tt.query, s.Tx, tt.want)
		}
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		query   string
		hint    Hint
		replica bool
	}{
		{"select 1", NoHint, true},
		{"/* uprung:primary */ select 1", ToPrimary, false},
		{"/*uprung:primary*/ select 1", ToPrimary, false},
		{"select 1 -- uprung:primary", ToPrimary, false},
		{"select 1 -- uprung:primary\n", ToPrimary, false},
		{"select /* uprung:replica */ evil(1)", ToReplica, true},
		{"/* uprung:replica */ select * from pg_class", ToReplica, true},
		{"/* uprung:replica */ /* uprung:primary */ select 1", ToPrimary, false},
		{"/* uprung:primary */ /* uprung:replica */ select 1", ToPrimary, false},
		{"/* uprung:replica */ delete from t", ToReplica, false},
		{"/* uprung:replica */ select * from t for update", ToReplica, false},
		{"/* uprung:replica */ select nextval('s')", ToReplica, false},
		{"/* uprung:replica */ select evil(1), pg_advisory_lock(1)", ToReplica, false},
		{"/* uprung:replica */ select evil(1); select 1", ToReplica, false},
		{"/* uprung:replica */ select 'a\\' for update", ToReplica, false},
		{"/* uprung:replica */ set a = 1", ToReplica, false},
		{"/* the hint uprung:primary is not alone here */ select 1", NoHint, true},
		{"select '/* uprung:primary */'", NoHint, true},
		{"select $$ -- uprung:primary\n $$", NoHint, true},
		{"/* /* uprung:primary */ */ select 1", NoHint, true},
		{"/* UPRUNG:PRIMARY */ select 1", NoHint, true},
	} {
		if s := Classify(PostgreSQL, tt.query); s.Hint != tt.hint || s.Replica() != tt.replica {
			t.Errorf("%s has hint %d, Replica() %v; want %d, %v", tt.query, s.Hint, s.Replica(), tt.hint, tt.replica)
		}
	}
	if s := Classify(MySQL, "select 1 # uprung:primary"); s.Hint != ToPrimary {
		t.Errorf("a comment after # has hint %d", s.Hint)
	}
}

func TestDeclaredFunctions(t *testing.T) {
	t.Parallel()
	c, err := New(PostgreSQL, "similarity", "App.Score", "st_distance")
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]Class{
		"select similarity(a, b) from t":            Read,
		"select SIMILARITY (a, b) from t":           Read,
		"select app.score(a) from t":                Read,
		"select score(a) from t":                    Unsure,
		"select app.similarity(a, b) from t":        Unsure,
		"select x.app.score(a) from t":              Unsure,
		"select app . score(a) from t":              Unsure, // not worth the trouble
		"select app/**/.score(a) from t":            Unsure,
		"select \"similarity\"(a, b) from t":        Unsure,
		"select xapp.score(a) from t":               Unsure,
		"select $1app.score(a) from t":              Unsure,
		"select similarity(a, nextval('s')) from t": Write,
		"select st_distance(a, evil(b)) from t":     Unsure,
	} {
		if s := c.Classify(query); s.Class != want {
			t.Errorf("%s is %v by %v, want %v", query, s.Class, s.Reason, want)
		}
	}
	_, err = New(PostgreSQL, "ok", "", "a b", "f()", "\"f\"", ".f", "f.", "a..b", "averyveryverylongnameofafunctionthatnobodyhas")
	if err == nil {
		t.Fatal("bad names are taken")
	}
	if list, ok := err.(interface{ Unwrap() []error }); !ok || len(list.Unwrap()) != 8 {
		t.Errorf("error is %v, want one for each of 8 names", err)
	}
	if _, err := New(MySQL+1, "ok"); err == nil {
		t.Error("an unknown dialect is taken")
	}
}
