package memsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Connect implements driver.Connector.
func (n *Node) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	switch {
	case n.down:
		return nil, errRefused()
	case n.fail != nil:
		return nil, n.fail
	}
	return &conn{node: n, started: n.started}, nil
}

// Driver implements driver.Connector.
func (n *Node) Driver() driver.Driver { return (*drv)(n) }

type drv Node

func (d *drv) Open(string) (driver.Conn, error) { return (*Node)(d).Connect(context.Background()) }

// Conn is the type of the connections of this package.
type Conn = conn

type conn struct {
	node    *Node
	started int
	lost    bool
	tx      bool
	readTx  bool
	pending []entry
}

// kind is what a statement does.
type kind uint8

const (
	nothing kind = iota
	read
	write
	returning
	probe
	position
)

// kinds remembers what texts do.
var kinds sync.Map // of string to kind: a program has few

func kindOf(text string) kind {
	if k, ok := kinds.Load(text); ok {
		return k.(kind)
	}
	upper := strings.ToUpper(text)
	k := nothing
	switch {
	case strings.Contains(upper, "PG_CONTROL_SYSTEM"):
		k = probe
	case strings.Contains(upper, "PG_CURRENT_WAL_INSERT_LSN"):
		k = position
	case strings.Contains(upper, "WRITE_VALUE("), strings.Contains(upper, "RETURNING"):
		k = returning
	case strings.HasPrefix(upper, "UPDATE"), strings.HasPrefix(upper, "INSERT"):
		k = write
	case strings.HasPrefix(upper, "SELECT VALUE"):
		k = read
	}
	kinds.Store(text, k)
	return k
}

// NodeIndex returns which server the connection leads to.
func (c *conn) NodeIndex() int { return c.node.index }

// enter waits for a worker, and takes the time that the statement takes.
func (c *conn) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n := c.node
	if n.workers == nil {
		return nil
	}
	select {
	case n.workers <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-n.workers }()
	work := time.NewTimer(n.service)
	defer work.Stop()
	select {
	case <-work.C:
		return nil
	case <-ctx.Done():
		c.lost = true // as drivers do with a connection on which an answer is on its way
		return ctx.Err()
	}
}

// check returns why a statement cannot run. It is called under mu.
func (c *conn) check() error {
	switch {
	case c.lost || c.node.down || c.started != c.node.started:
		c.lost = true
		return errLost
	case c.node.fail != nil:
		return c.node.fail
	}
	return nil
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	k := kindOf(text)
	if k != probe && k != position {
		if err := c.enter(ctx); err != nil {
			return nil, err
		}
	}
	n := c.node
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if err := c.check(); err != nil {
		return nil, err
	}
	if n.upstream != nil {
		n.advance(time.Now())
	}
	switch k {
	case read:
		key, err := keyOf(args)
		if err != nil {
			return nil, err
		}
		value, ok := n.data[key]
		for _, e := range c.pending {
			if e.key == key {
				value, ok = e.value, true
			}
		}
		return &rows{value: value, left: ok}, nil
	case returning:
		value, err := c.write(args)
		if err != nil {
			return nil, err
		}
		return &rows{value: value, left: true}, nil
	case write:
		_, err := c.write(args)
		return &rows{}, err
	case probe:
		recovering := "0"
		if n.upstream != nil {
			recovering = "1"
		}
		return &texts{recovering, n.position(), strconv.Itoa(int(n.epoch)), strconv.Itoa(system), "8192", "16777216"}, nil
	case position:
		if n.upstream != nil {
			return nil, &Error{"55000", "recovery is in progress"}
		}
		return &texts{n.position(), strconv.Itoa(int(n.epoch)), "8192", "16777216"}, nil
	default:
		return &rows{value: 1, left: true}, nil
	}
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	n := c.node
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if err := c.check(); err != nil {
		return nil, err
	}
	if k := kindOf(text); k != write && k != returning {
		return driver.RowsAffected(0), nil
	}
	_, err := c.write(args)
	return driver.RowsAffected(1), err
}

// write executes a write, or keeps it for the commit. It is called under mu.
func (c *conn) write(args []driver.NamedValue) (int64, error) {
	n := c.node
	if n.upstream != nil || c.readTx {
		return 0, &Error{"25006", "cannot execute this in a read-only transaction"}
	}
	key, err := keyOf(args)
	if err != nil || len(args) < 2 {
		return 0, errors.Join(err, errors.New("memsql: a write needs a key and a value"))
	}
	value, ok := args[1].Value.(int64)
	if !ok {
		return 0, fmt.Errorf("memsql: value is a %T, want int64", args[1].Value)
	}
	if c.tx {
		c.pending = append(c.pending, entry{key: key, value: value})
		return value, nil
	}
	n.write(time.Now(), key, value)
	if err := n.commitAndFail; err != nil {
		n.commitAndFail, c.lost = nil, true
		return 0, err
	}
	return value, nil
}

func keyOf(args []driver.NamedValue) (string, error) {
	if len(args) == 0 {
		return "", errors.New("memsql: a statement needs a key")
	}
	switch key := args[0].Value.(type) {
	case string:
		return key, nil
	case int64:
		return strconv.FormatInt(key, 10), nil
	default:
		return "", fmt.Errorf("memsql: key is a %T, want string or int64", key)
	}
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.node.cluster.mu.Lock()
	defer c.node.cluster.mu.Unlock()
	return &stmt{conn: c, text: text}, c.check()
}

// Prepare implements driver.Conn.
func (c *conn) Prepare(text string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), text)
}

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.node.cluster.mu.Lock()
	defer c.node.cluster.mu.Unlock()
	return c.check()
}

// IsValid implements driver.Validator.
func (c *conn) IsValid() bool { return !c.lost }

// Close implements driver.Conn.
func (c *conn) Close() error { return nil }

// Begin implements driver.Conn.
func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx implements driver.ConnBeginTx.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.Ping(ctx); err != nil {
		return nil, err
	}
	c.tx, c.readTx = true, opts.ReadOnly
	return (*tx)(c), nil
}

type tx conn

// Commit executes what the transaction has written.
func (t *tx) Commit() error {
	c := (*conn)(t)
	n := c.node
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	pending := c.pending
	c.tx, c.readTx, c.pending = false, false, nil
	if err := c.check(); err != nil {
		return err
	}
	now := time.Now()
	for _, e := range pending {
		n.write(now, e.key, e.value)
	}
	if err := n.commitAndFail; err != nil && len(pending) > 0 {
		n.commitAndFail, c.lost = nil, true
		return err
	}
	return nil
}

// Rollback forgets it.
func (t *tx) Rollback() error {
	c := (*conn)(t)
	c.tx, c.readTx, c.pending = false, false, nil
	return nil
}

type stmt struct {
	conn *conn
	text string
}

func (*stmt) Close() error  { return nil }
func (*stmt) NumInput() int { return -1 }
func (s *stmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.New("memsql: not called")
}
func (s *stmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("memsql: not called")
}
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.text, args)
}
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.text, args)
}

var column = []string{"value"}

// rows is one value or none.
type rows struct {
	value int64
	left  bool
}

func (*rows) Columns() []string                     { return column }
func (*rows) ColumnTypeDatabaseTypeName(int) string { return "INT8" }
func (*rows) Close() error                          { return nil }
func (r *rows) Next(to []driver.Value) error {
	if !r.left {
		return io.EOF
	}
	r.left, to[0] = false, r.value
	return nil
}

// texts is one row of texts.
type texts []string

func (t *texts) Columns() []string { return make([]string, len(*t)) }
func (*texts) Close() error        { return nil }
func (t *texts) Next(to []driver.Value) error {
	if *t == nil {
		return io.EOF
	}
	for i, s := range *t {
		to[i] = s
	}
	*t = nil
	return nil
}
