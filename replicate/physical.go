package replicate

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
)

// physical is a connection to a server. It belongs to one virtual connection at a time,
// or to the pool of its node.
type physical struct {
	conn driver.Conn
	node *node

	// What the driver can do beyond driver.Conn; nil if it can not.
	queryer   driver.QueryerContext
	execer    driver.ExecerContext
	resetter  driver.SessionResetter
	validator driver.Validator
	checker   driver.NamedValueChecker

	opened, returned int64 // instants
	tainted          bool  // a statement has changed what the next borrower would find
	broken           bool  // it is to be closed
	statements       []prepared
}

// prepared is a statement that the server knows. The ones used last come last.
type prepared struct {
	query string
	stmt  driver.Stmt
}

func newPhysical(n *node, conn driver.Conn, now int64) *physical {
	p := &physical{conn: conn, node: n, opened: now}
	p.queryer, _ = conn.(driver.QueryerContext)
	p.execer, _ = conn.(driver.ExecerContext)
	p.resetter, _ = conn.(driver.SessionResetter)
	p.validator, _ = conn.(driver.Validator)
	p.checker, _ = conn.(driver.NamedValueChecker)
	return p
}

// fault says what an error means, and notes a connection that is lost.
func (p *physical) fault(err error) Fault {
	if err == nil {
		return Other
	}
	f := faultOf(p.node.cluster.dialect, err)
	if f == Gone || errors.Is(err, driver.ErrBadConn) {
		p.broken = true
	}
	return f
}

// query runs a statement that returns rows, which are the driver's own: a wrapper would
// hide what they know of their columns.
func (p *physical) query(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if p.queryer != nil {
		bound, err := p.bind(nil, args)
		if err != nil {
			return nil, err
		}
		rows, err := p.queryer.QueryContext(ctx, text, bound)
		if !errors.Is(err, driver.ErrSkip) {
			return rows, err
		}
	}
	stmt, err := p.prepare(ctx, text)
	if err != nil {
		return nil, err
	}
	return p.queryPrepared(ctx, stmt, args)
}

func (p *physical) queryPrepared(ctx context.Context, stmt driver.Stmt, args []driver.NamedValue) (driver.Rows, error) {
	bound, err := p.bind(stmt, args)
	if err != nil {
		return nil, err
	}
	if q, ok := stmt.(driver.StmtQueryContext); ok {
		return q.QueryContext(ctx, bound)
	}
	values, err := plain(ctx, bound)
	if err != nil {
		return nil, err
	}
	return stmt.Query(values) //nolint:staticcheck // all that such a driver has
}

// exec runs a statement that returns none.
func (p *physical) exec(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if p.execer != nil {
		bound, err := p.bind(nil, args)
		if err != nil {
			return nil, err
		}
		result, err := p.execer.ExecContext(ctx, text, bound)
		if !errors.Is(err, driver.ErrSkip) {
			return result, err
		}
	}
	stmt, err := p.prepare(ctx, text)
	if err != nil {
		return nil, err
	}
	return p.execPrepared(ctx, stmt, args)
}

func (p *physical) execPrepared(ctx context.Context, stmt driver.Stmt, args []driver.NamedValue) (driver.Result, error) {
	bound, err := p.bind(stmt, args)
	if err != nil {
		return nil, err
	}
	if e, ok := stmt.(driver.StmtExecContext); ok {
		return e.ExecContext(ctx, bound)
	}
	values, err := plain(ctx, bound)
	if err != nil {
		return nil, err
	}
	return stmt.Exec(values) //nolint:staticcheck // all that such a driver has
}

// prepare returns a statement of this connection, from before if there is one. The
// caller must not close it.
func (p *physical) prepare(ctx context.Context, text string) (driver.Stmt, error) {
	for i := range p.statements {
		if s := p.statements[i]; s.query == text {
			p.statements = append(append(p.statements[:i], p.statements[i+1:]...), s)
			return s.stmt, nil
		}
	}
	stmt, err := prepareOn(ctx, p.conn, text)
	if err != nil {
		return nil, err
	}
	p.statements = append(p.statements, prepared{text, stmt})
	// Who keeps a connection for long must not fill the server with statements. It would
	// not have prepared another while rows were being read.
	p.trim(p.node.cluster.maxStatements)
	return stmt, nil
}

func prepareOn(ctx context.Context, conn driver.Conn, text string) (driver.Stmt, error) {
	if c, ok := conn.(driver.ConnPrepareContext); ok {
		return c.PrepareContext(ctx, text)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return conn.Prepare(text)
}

// begin starts a transaction.
func (p *physical) begin(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if b, ok := p.conn.(driver.ConnBeginTx); ok {
		return b.BeginTx(ctx, opts)
	}
	if opts.Isolation != 0 || opts.ReadOnly {
		return nil, errors.New("replicate: the driver does not support isolation levels and read-only transactions")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return p.conn.Begin() //nolint:staticcheck // all that such a driver has
}

// ping asks the server whether it is there, if the driver can.
func (p *physical) ping(ctx context.Context) error {
	if pinger, ok := p.conn.(driver.Pinger); ok {
		return pinger.Ping(ctx)
	}
	return nil
}

// trim closes the statements beyond a number that were used longest ago.
func (p *physical) trim(most int) {
	for len(p.statements) > most {
		if p.statements[0].stmt.Close() != nil {
			p.broken = true
		}
		p.statements = slices.Delete(p.statements, 0, 1)
	}
}

func (p *physical) close() error {
	p.node.open.Add(-1)
	return p.conn.Close()
}

// bind converts arguments in place as the driver wants them. That could not be done
// before the server was chosen. stmt may be nil.
func (p *physical) bind(stmt driver.Stmt, args []driver.NamedValue) ([]driver.NamedValue, error) {
	if len(args) == 0 {
		return args, nil
	}
	checker := p.checker
	if c, ok := stmt.(driver.NamedValueChecker); ok {
		checker = c
	}
	columns, _ := stmt.(driver.ColumnConverter) //nolint:staticcheck // database/sql asks it too
	bound := args
	kept := 0
	for i := range args {
		arg := &args[i]
		arg.Ordinal = kept + 1
		err := driver.ErrSkip
		if checker != nil {
			err = checker.CheckNamedValue(arg)
		}
		if errors.Is(err, driver.ErrSkip) {
			err = convert(columns, arg)
		}
		switch {
		case errors.Is(err, driver.ErrRemoveArgument):
			if kept == i {
				bound = slices.Clone(args[:i]) // another server is to get the whole of them
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("sql: converting argument $%d type: %w", arg.Ordinal, err)
		case kept != i:
			bound = append(bound[:kept], *arg)
		}
		kept++
	}
	return bound[:kept], nil
}

// convert is how database/sql converts what a driver does not.
func convert(columns driver.ColumnConverter, arg *driver.NamedValue) (err error) { //nolint:staticcheck // see bind
	converter := driver.DefaultParameterConverter
	var to driver.ValueConverter = converter
	if columns != nil {
		if valuer, ok := arg.Value.(driver.Valuer); ok {
			if v := reflect.ValueOf(valuer); v.Kind() == reflect.Pointer && v.IsNil() {
				arg.Value = nil // as database/sql does with a nil pointer whose type has Value
			} else if arg.Value, err = valuer.Value(); err != nil {
				return err
			}
		}
		to = columns.ColumnConverter(arg.Ordinal - 1)
	}
	arg.Value, err = to.ConvertValue(arg.Value)
	return err
}

// plain returns the values of arguments for a driver that knows neither names nor
// contexts.
func plain(ctx context.Context, args []driver.NamedValue) ([]driver.Value, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	values := make([]driver.Value, len(args))
	for i, arg := range args {
		if arg.Name != "" {
			return nil, errors.New("sql: driver does not support the use of Named Parameters")
		}
		values[i] = arg.Value
	}
	return values, nil
}

// Ask implements Asker.
func (p *physical) Ask(ctx context.Context, statement string) (row []string, err error) {
	rows, err := p.query(ctx, statement, nil)
	if err != nil {
		p.fault(err)
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(values); err != nil {
		p.fault(err)
		if errors.Is(err, io.EOF) {
			err = errors.New("replicate: the server returned no row")
		}
		return nil, err
	}
	for _, v := range values {
		row = append(row, text(v))
	}
	return row, nil
}

// text returns a value as a server would write it.
func text(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	case bool:
		if v {
			return "1"
		}
		return "0"
	default:
		return fmt.Sprint(v)
	}
}
