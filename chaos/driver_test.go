package chaos

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"
	"time"
)

// store is a database of nothing, which counts what reaches it. It has all optional
// interfaces, or, if bare, none.
type store struct {
	bare  bool
	calls map[string]int
}

func (s *store) Connect(context.Context) (driver.Conn, error) {
	s.calls["connect"]++
	if s.bare {
		return &bareConn{s}, nil
	}
	return &fullConn{bareConn{s}}, nil
}
func (s *store) Driver() driver.Driver { return nil }
func (s *store) Close() error          { s.calls["close"]++; return nil }

type bareConn struct{ *store }

func (c *bareConn) Prepare(string) (driver.Stmt, error) {
	c.calls["prepare"]++
	return &bareStmt{c.store}, nil
}
func (c *bareConn) Close() error              { return nil }
func (c *bareConn) Begin() (driver.Tx, error) { c.calls["begin"]++; return &bareTx{c.store}, nil }

type bareTx struct{ *store }

func (t *bareTx) Commit() error   { t.calls["commit"]++; return nil }
func (t *bareTx) Rollback() error { t.calls["rollback"]++; return nil }

type bareStmt struct{ *store }

func (s *bareStmt) Close() error  { return nil }
func (s *bareStmt) NumInput() int { return -1 }
func (s *bareStmt) Exec([]driver.Value) (driver.Result, error) {
	s.calls["exec"]++
	return driver.ResultNoRows, nil
}
func (s *bareStmt) Query([]driver.Value) (driver.Rows, error) {
	s.calls["query"]++
	return noRows{}, nil
}

type noRows struct{}

func (noRows) Columns() []string         { return []string{"x"} }
func (noRows) Close() error              { return nil }
func (noRows) Next([]driver.Value) error { return io.EOF }

type fullConn struct{ bareConn }

func (c *fullConn) Ping(context.Context) error { c.calls["ping"]++; return nil }
func (c *fullConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	c.calls["query"]++
	return noRows{}, nil
}
func (c *fullConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	c.calls["exec"]++
	return driver.ResultNoRows, nil
}
func (c *fullConn) PrepareContext(context.Context, string) (driver.Stmt, error) {
	c.calls["prepare"]++
	return &fullStmt{bareStmt{c.store}}, nil
}
func (c *fullConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	c.calls["begin"]++
	return &bareTx{c.store}, nil
}
func (c *fullConn) ResetSession(context.Context) error { c.calls["reset"]++; return nil }
func (c *fullConn) IsValid() bool                      { c.calls["valid"]++; return true }
func (c *fullConn) CheckNamedValue(*driver.NamedValue) error {
	c.calls["check"]++
	return nil
}

type fullStmt struct{ bareStmt }

func (s *fullStmt) QueryContext(context.Context, []driver.NamedValue) (driver.Rows, error) {
	s.calls["query"]++
	return noRows{}, nil
}
func (s *fullStmt) ExecContext(context.Context, []driver.NamedValue) (driver.Result, error) {
	s.calls["exec"]++
	return driver.ResultNoRows, nil
}

// openStore opens a database behind an injector.
func openStore(t *testing.T, bare bool, i *Injector) (*store, *sql.DB) {
	t.Helper()
	s := &store{bare: bare, calls: map[string]int{}}
	db := sql.OpenDB(i.Connector(s))
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return s, db
}

// use does everything once, and returns the errors by step.
func use(t *testing.T, db *sql.DB) map[string]error {
	t.Helper()
	errs := map[string]error{}
	note := func(step string, err error) {
		if err != nil {
			errs[step] = err
		}
	}
	ctx := t.Context()
	note("ping", db.PingContext(ctx))
	_, err := db.ExecContext(ctx, "INSERT", 1)
	note("exec", err)
	rows, err := db.QueryContext(ctx, "SELECT", 1)
	note("query", err)
	if err == nil {
		note("rows", errors.Join(rows.Err(), rows.Close()))
	}
	stmt, err := db.PrepareContext(ctx, "SELECT")
	note("prepare", err)
	if err == nil {
		_, err = stmt.ExecContext(ctx, 1)
		note("stmt exec", err)
		rows, err = stmt.QueryContext(ctx, 1)
		note("stmt query", err)
		if err == nil {
			note("rows", errors.Join(rows.Err(), rows.Close()))
		}
		note("stmt close", stmt.Close())
	}
	for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
		tx, err := db.BeginTx(ctx, nil)
		note("begin", err)
		if err == nil {
			note("end", end(tx))
		}
	}
	return errs
}

func TestDatabaseWorksDisarmed(t *testing.T) {
	t.Parallel()
	for _, bare := range []bool{false, true} {
		i, err := New([]Fault{{Name: "all", Reset: true}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		s, db := openStore(t, bare, i)
		if errs := use(t, db); len(errs) > 0 {
			t.Errorf("bare %t: %v", bare, errs)
		}
		want := map[string]int{"connect": 1, "exec": 2, "query": 2, "begin": 2, "commit": 1, "rollback": 1}
		if want["prepare"] = 3; !bare {
			want["prepare"], want["ping"] = 1, 1
		}
		for step, n := range want {
			if s.calls[step] != n {
				t.Errorf("bare %t: %s was called %d times, want %d", bare, step, s.calls[step], n)
			}
		}
		if !bare && (s.calls["reset"] == 0 || s.calls["valid"] == 0 || s.calls["check"] == 0) {
			t.Errorf("optional interfaces are hidden: %v", s.calls)
		}
		if err := db.Close(); err != nil || s.calls["close"] != 1 {
			t.Errorf("closed %d times, %v", s.calls["close"], err)
		}
	}
}

// database/sql discards a connection whose transaction was ended by its context, if the
// driver cannot reset it. One that only seems to could would be used again as it is.
func TestConnectionsAreNoMoreThanTheirBase(t *testing.T) {
	t.Parallel()
	for _, bare := range []bool{false, true} {
		s := &store{bare: bare, calls: map[string]int{}}
		c, err := must(t, nil).Connector(s).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, resets := c.(driver.SessionResetter)
		_, validates := c.(driver.Validator)
		if resets == bare || validates == bare {
			t.Errorf("bare %t: it can be reset: %t, and validated: %t", bare, resets, validates)
		}
	}
}

// A fault in one step does not reach the database in it, and the others pass.
func TestFaultsOfADatabase(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	for _, bare := range []bool{false, true} {
		for _, step := range []string{"ping", "exec", "query", "prepare", "begin", "connect"} {
			i := must(t, nil, Fault{Name: "f", Err: full, Match: func(c Call) bool { return c.Method == step }})
			s, db := openStore(t, bare, i)
			errs := use(t, db)
			if err := errs[step]; step != "connect" && (!errors.Is(err, full) || !errors.Is(err, ErrInjected)) {
				t.Errorf("bare %t, %s: %v", bare, step, err)
			}
			if s.calls[step] != 0 {
				t.Errorf("bare %t, %s: reached the database %d times", bare, step, s.calls[step])
			}
		}
	}
}

func TestCommitThatFailsDoesNotHappen(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	i := must(t, nil, Fault{Name: "f", Err: lost, Match: func(c Call) bool { return c.Method == "commit" || c.Method == "rollback" }})
	s, db := openStore(t, false, i)
	for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(tx); !errors.Is(err, lost) {
			t.Errorf("got %v", err)
		}
	}
	if s.calls["commit"] != 0 || s.calls["rollback"] != 2 {
		t.Errorf("calls are %v, want two rollbacks", s.calls)
	}
}

// A client that has left is not held in a commit, which does not happen then.
func TestCommitOfAClientThatLeftIsNotHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i := must(t, nil, Fault{Name: "f", Delay: Fixed(time.Hour / 2), Match: func(c Call) bool { return c.Method == "commit" }})
		s := &store{calls: map[string]int{}}
		c, err := i.Connector(s).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tx, err := c.(driver.ConnBeginTx).BeginTx(ctx, driver.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := tx.Commit(); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second || s.calls["commit"] != 0 || s.calls["rollback"] != 1 {
			t.Errorf("after %v: %v, calls %v", time.Since(begin), err, s.calls)
		}
	})
}

// database/sql tries again on another connection.
func TestResetOfADatabaseIsABadConnection(t *testing.T) {
	t.Parallel()
	left := 1
	i := must(t, nil, Fault{Name: "f", Reset: true, Match: func(c Call) bool {
		left--
		return c.Method == "exec" && left >= 0
	}})
	left = 2 // connecting, and the first statement
	s, db := openStore(t, false, i)
	if _, err := db.ExecContext(t.Context(), "INSERT"); err != nil {
		t.Error(err)
	}
	if s.calls["connect"] != 2 || s.calls["exec"] != 1 {
		t.Errorf("calls are %v, want another connection", s.calls)
	}
}

func TestDelayOfADatabaseHonoursTheContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i := must(t, nil, Fault{Name: "f", Delay: Fixed(time.Hour), Match: func(c Call) bool { return c.Query == "SELECT pg_sleep" }})
		_, db := openStore(t, false, i)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		if _, err := db.ExecContext(ctx, "SELECT pg_sleep"); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		_ = db.Close()
	})
}

func TestRawConnectionUnwraps(t *testing.T) {
	t.Parallel()
	_, db := openStore(t, false, must(t, nil))
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Raw(func(c any) error {
		if _, ok := c.(interface{ Unwrap() driver.Conn }).Unwrap().(*fullConn); !ok {
			t.Errorf("it is a %T", c)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
