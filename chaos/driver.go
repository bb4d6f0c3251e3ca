package chaos

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// Connector injects faults into a database, for [sql.OpenDB]: into connecting and
// pinging, statements, and the begin and end of transactions. Reset makes a connection
// bad, so that database/sql opens another one and, where nothing can have happened yet,
// tries again.
//
// [sql.Conn.Raw] gets a connection of this package; its Unwrap method returns that of
// base.
func (i *Injector) Connector(base driver.Connector) driver.Connector {
	return &connector{injector: i, base: base}
}

type connector struct {
	injector *Injector
	base     driver.Connector
}

// meet injects a fault into a step, if it meets one.
func (i *Injector) meet(ctx context.Context, method, query string) error {
	n, ok := i.Next(Call{Context: ctx, Method: method, Query: query})
	if !ok {
		return nil
	}
	defer n.End()
	goOn, err := n.Hold(ctx)
	if err != nil || !goOn {
		return err
	}
	return n.Err(driver.ErrBadConn)
}

// Connect implements [driver.Connector].
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.injector.meet(ctx, "connect", ""); err != nil {
		return nil, err
	}
	base, err := c.base.Connect(ctx)
	if err != nil {
		return nil, err
	}
	own := &conn{Conn: base, injector: c.injector}
	// database/sql keeps a connection after a transaction that its context has ended only if
	// it can be reset and validated: what base cannot, this must not pretend.
	_, resets := base.(driver.SessionResetter)
	_, validates := base.(driver.Validator)
	switch {
	case resets && validates:
		return sound{resetting{own}}, nil
	case resets:
		return resetting{own}, nil
	case validates:
		return validating{own}, nil
	}
	return own, nil
}

// Driver implements [driver.Connector].
func (c *connector) Driver() driver.Driver { return c.base.Driver() }

// Close implements [io.Closer], which [sql.DB.Close] calls.
func (c *connector) Close() error {
	if closer, ok := c.base.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// conn is a connection, with all that database/sql can ask of one. What its base lacks
// it answers as database/sql would without it.
type conn struct {
	driver.Conn
	injector *Injector
}

// Unwrap returns the connection below.
func (c *conn) Unwrap() driver.Conn { return c.Conn }

// Ping implements [driver.Pinger].
func (c *conn) Ping(ctx context.Context) error {
	if err := c.injector.meet(ctx, "ping", ""); err != nil {
		return err
	}
	if base, ok := c.Conn.(driver.Pinger); ok {
		return base.Ping(ctx)
	}
	return nil
}

// QueryContext implements [driver.QueryerContext].
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	base, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip // and it is prepared
	}
	if err := c.injector.meet(ctx, "query", query); err != nil {
		return nil, err
	}
	return base.QueryContext(ctx, query, args)
}

// ExecContext implements [driver.ExecerContext].
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	base, ok := c.Conn.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip // and it is prepared
	}
	if err := c.injector.meet(ctx, "exec", query); err != nil {
		return nil, err
	}
	return base.ExecContext(ctx, query, args)
}

// PrepareContext implements [driver.ConnPrepareContext].
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.injector.meet(ctx, "prepare", query); err != nil {
		return nil, err
	}
	var base driver.Stmt
	var err error
	if preparer, ok := c.Conn.(driver.ConnPrepareContext); ok {
		base, err = preparer.PrepareContext(ctx, query)
	} else {
		base, err = c.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	return &stmt{Stmt: base, conn: c, query: query}, nil
}

// BeginTx implements [driver.ConnBeginTx].
func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if err := c.injector.meet(ctx, "begin", ""); err != nil {
		return nil, err
	}
	base, err := c.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	return &tx{Tx: base, ctx: ctx, injector: c.injector}, nil
}

func (c *conn) begin(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if base, ok := c.Conn.(driver.ConnBeginTx); ok {
		return base.BeginTx(ctx, o)
	}
	if sql.IsolationLevel(o.Isolation) != sql.LevelDefault {
		return nil, errors.New("chaos: the driver does not support isolation levels")
	}
	if o.ReadOnly {
		return nil, errors.New("chaos: the driver does not support read-only transactions")
	}
	return c.Begin()
}

// resetting is a connection that can be reset, validating one that can be validated, and
// sound one that can both.
type (
	resetting  struct{ *conn }
	validating struct{ *conn }
	sound      struct{ resetting }
)

// ResetSession implements [driver.SessionResetter].
func (c resetting) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}

// IsValid implements [driver.Validator].
func (c validating) IsValid() bool { return c.Conn.(driver.Validator).IsValid() }

// IsValid implements [driver.Validator].
func (c sound) IsValid() bool { return c.Conn.(driver.Validator).IsValid() }

// CheckNamedValue implements [driver.NamedValueChecker].
func (c *conn) CheckNamedValue(v *driver.NamedValue) error { return checkNamedValue(c.Conn, v) }

func checkNamedValue(base any, v *driver.NamedValue) error {
	if checker, ok := base.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip // and database/sql converts it
}

// stmt is a prepared statement.
type stmt struct {
	driver.Stmt
	conn  *conn
	query string
}

// QueryContext implements [driver.StmtQueryContext].
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.conn.injector.meet(ctx, "query", s.query); err != nil {
		return nil, err
	}
	if base, ok := s.Stmt.(driver.StmtQueryContext); ok {
		return base.QueryContext(ctx, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.Query(values)
}

// ExecContext implements [driver.StmtExecContext].
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.conn.injector.meet(ctx, "exec", s.query); err != nil {
		return nil, err
	}
	if base, ok := s.Stmt.(driver.StmtExecContext); ok {
		return base.ExecContext(ctx, args)
	}
	values, err := positional(ctx, args)
	if err != nil {
		return nil, err
	}
	return s.Exec(values)
}

// CheckNamedValue implements [driver.NamedValueChecker].
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if _, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return checkNamedValue(s.Stmt, v)
	}
	return checkNamedValue(s.conn.Conn, v)
}

// positional returns arguments for a driver that knows neither names nor contexts.
func positional(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	values := make([]driver.Value, len(args))
	for at, arg := range args {
		if arg.Name != "" {
			return nil, errors.New("chaos: the driver does not support named arguments")
		}
		values[at] = arg.Value
	}
	return values, nil
}

// tx is a transaction.
type tx struct {
	driver.Tx
	ctx      context.Context //nolint:containedctx // of BeginTx: commit and rollback have none of their own
	injector *Injector
}

// Commit implements [driver.Tx]. A fault comes before the commit, which does not happen
// then.
func (t *tx) Commit() error {
	if err := t.injector.meet(t.ctx, "commit", ""); err != nil {
		return errors.Join(err, t.Tx.Rollback())
	}
	return t.Tx.Commit()
}

// Rollback implements [driver.Tx]. The transaction is rolled back also if a fault is
// injected, as it is when a connection breaks.
func (t *tx) Rollback() error {
	return errors.Join(t.injector.meet(t.ctx, "rollback", ""), t.Tx.Rollback())
}
