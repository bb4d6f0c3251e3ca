package replicate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/uprung/uprung"
)

// conn is a virtual connection: what a [sql.DB] has in its pool. It owns nothing while it
// is there, and borrows connections to servers as statements need them, one to the
// primary and one to a replica at most, until it goes back.
//
// database/sql asks Validator when a connection goes back to its pool, on every path but
// that of ErrBadConn, where it closes: there the borrowed connections are given back.
type conn struct {
	cluster *Cluster
	primary *physical
	replica *physical
	chosen  chosen // how the replica was picked
	failed  bool   // the replica has failed
	slot    bool   // it has a place of the reads that fall back to the primary
	pinned  bool   // the connection to the primary has been changed by a statement
	moved   bool   // an earlier connection to the primary was lost since this one was taken
	tx      *tx

	// open says that the rows of a statement that may write are being read, of whom it is.
	open     bool
	bookmark *Bookmark

	filter refusing
}

var (
	_ driver.QueryerContext     = (*conn)(nil)
	_ driver.ExecerContext      = (*conn)(nil)
	_ driver.ConnPrepareContext = (*conn)(nil)
	_ driver.ConnBeginTx        = (*conn)(nil)
	_ driver.Pinger             = (*conn)(nil)
	_ driver.Validator          = (*conn)(nil)
	_ driver.NamedValueChecker  = (*conn)(nil)
)

// uncertainError is that of a statement whose connection was lost. It does not match
// driver.ErrBadConn, upon which database/sql would repeat the statement.
type uncertainError struct{ cause error }

func (e *uncertainError) Error() string        { return ErrUncertain.Error() + ": " + e.cause.Error() }
func (e *uncertainError) Is(target error) bool { return target == ErrUncertain }

// errForgotten is that of a statement that asks for what a lost connection remembered:
// another connection would answer with what it remembers of somebody else.
var errForgotten = errors.New("replicate: the connection that the statement asks about was lost")

// uncertain returns the error of a statement that may write as database/sql may see it.
func uncertain(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return &uncertainError{err}
	}
	return err
}

// CheckNamedValue accepts everything: the driver of the server that will be chosen
// converts.
func (c *conn) CheckNamedValue(*driver.NamedValue) error { return nil }

// IsValid gives back what was borrowed.
func (c *conn) IsValid() bool {
	if c.tx != nil {
		return false // it was left open: database/sql closes the connection
	}
	c.settle()
	c.release()
	return true
}

// Close gives back what was borrowed. A transaction that is open ends with its connection.
func (c *conn) Close() error {
	if c.tx != nil {
		c.tx.p.broken = true
		c.tx = nil
	}
	c.settle()
	c.release()
	return nil
}

// release gives back what was borrowed.
func (c *conn) release() {
	c.releaseReplica()
	if p := c.primary; p != nil {
		c.primary = nil
		p.node.give(p)
	}
	if c.slot {
		c.slot = false
		c.cluster.unslot()
	}
	c.pinned, c.moved = false, false
}

func (c *conn) releaseReplica() {
	if p := c.replica; p != nil {
		c.replica = nil
		outcome := uprung.Success
		if c.failed {
			outcome, c.failed = uprung.Failure, false
		}
		c.cluster.done(c.chosen, outcome)
		p.node.give(p)
	}
}

// settle finds out the position of a write whose rows are over.
func (c *conn) settle() {
	if !c.open {
		return
	}
	c.open = false
	b := c.bookmark
	c.bookmark = nil
	c.committed(context.Background(), c.primary, b)
	if b != nil {
		b.writes(-1)
	}
}

// committed notes that something may have been written on a connection to the primary,
// and is over. With a bookmark, it asks for the position on that connection at once: later
// it would contain what others have written since.
func (c *conn) committed(ctx context.Context, p *physical, b *Bookmark) {
	k := c.cluster
	now := k.now()
	for {
		wrote := k.wrote.Load()
		if wrote >= now || k.wrote.CompareAndSwap(wrote, now) {
			break
		}
	}
	if b == nil {
		return
	}
	if p != nil && !p.broken {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.probeTimeout)
		was := b.at()
		position, err := k.dialect.Position(ctx, p)
		cancel()
		if err == nil {
			v := k.view.Load()
			b.raise(position, v.epoch != 0)
			if v.epoch != 0 && position.Timeline == v.epoch && p.node.index == v.primary {
				// What was seen before is in it too. Otherwise a client of INSERT .. RETURNING, as
				// ORMs write, would have read at the primary, and stay there as long as it reads.
				b.seen(&was)
			}
			return
		}
		p.broken = true // an answer may still be on its way
	}
	k.counts.positionsMissed.Add(1)
	b.hasWritten(now)
}

// onPrimary borrows a connection to the primary, unless there is one.
func (c *conn) onPrimary(ctx context.Context, sure bool) (*physical, error) {
	if p := c.primary; p != nil {
		if !p.broken || c.pinned || c.tx != nil {
			return p, nil
		}
		c.leave()
	}
	p, err := c.cluster.toPrimary(ctx, sure)
	if err != nil {
		return nil, err
	}
	c.primary = p
	return p, nil
}

// leave gives up the connection to the primary, and what it remembers.
func (c *conn) leave() {
	p := c.primary
	c.primary, c.moved = nil, true
	p.node.give(p)
}

// classOf returns what a statement may do, under this context.
func (c *conn) classOf(w *wish, text string) Class {
	class := c.cluster.classOf(text)
	if class == Unsure && w != nil && w.target == Replica {
		return Read
	}
	return class
}

// QueryContext runs a statement that returns rows where it belongs.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, text, args, false)
}

// query runs a statement that returns rows, as a prepared one or not.
func (c *conn) query(ctx context.Context, text string, args []driver.NamedValue, prepared bool) (driver.Rows, error) {
	c.settle()
	k := c.cluster
	w, b := wishOf(ctx), k.BookmarkOf(ctx)
	class := c.classOf(w, text)
	switch {
	case c.tx != nil:
		return c.queryTx(ctx, class, text, args, prepared, b)
	case class == Read:
		return c.queryRead(ctx, text, args, prepared, w, b)
	default:
		return c.queryWrite(ctx, class, text, args, prepared, b)
	}
}

// run sends a statement on a connection.
func run(ctx context.Context, p *physical, text string, args []driver.NamedValue, prepared bool) (driver.Rows, error) {
	if !prepared {
		return p.query(ctx, text, args)
	}
	stmt, err := p.prepare(ctx, text)
	if err != nil {
		return nil, err
	}
	return p.queryPrepared(ctx, stmt, args)
}

// queryTx runs a statement of the transaction.
func (c *conn) queryTx(ctx context.Context, class Class, text string, args []driver.NamedValue, prepared bool, b *Bookmark) (driver.Rows, error) {
	p := c.tx.p
	if class == Connection {
		p.tainted = true
	}
	rows, err := run(ctx, p, text, args, prepared)
	p.fault(err)
	c.note(b, p, err == nil)
	return rows, uncertain(err)
}

// note keeps in a bookmark where a statement ran, and what it may have seen.
func (c *conn) note(b *Bookmark, p *physical, seen bool) {
	if b == nil {
		return
	}
	b.ran(p.node.index)
	if seen {
		b.hasRead(p.node.index, c.cluster.view.Load().members[p.node.index].incarnation, c.cluster.now())
	}
}

// queryWrite runs a statement that may write at the primary.
func (c *conn) queryWrite(ctx context.Context, class Class, text string, args []driver.NamedValue, prepared bool, b *Bookmark) (driver.Rows, error) {
	var rows driver.Rows
	err := c.write(ctx, class, b, func(p *physical) (err error) {
		rows, err = run(ctx, p, text, args, prepared)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.opened(b)
	c.note(b, c.primary, true)
	return rows, nil
}

// opened notes that something may be written, which is over when the next statement
// comes, or the connection goes back.
func (c *conn) opened(b *Bookmark) {
	c.settle()
	c.open, c.bookmark = true, b
	if b != nil {
		b.writes(1)
	}
}

// write does something at the primary that may write. What a server has refused because
// it is no primary any longer is done again at the one that has taken its place: nothing
// had happened.
func (c *conn) write(ctx context.Context, class Class, b *Bookmark, do func(*physical) error) error {
	// A connection that was changed before is not left: the next would lack the changes.
	for again := !c.pinned; ; again = false {
		p, err := c.onPrimary(ctx, true)
		if err != nil {
			return notSent(err)
		}
		if class == Memory && c.moved {
			return errForgotten
		}
		if class == Connection {
			c.pinned, p.tainted = true, true
		}
		p.node.writes.Add(1)
		if err = do(p); err == nil {
			return nil
		}
		fault := p.fault(err)
		if fault == ReadOnly && again && c.tx == nil && c.demoted(ctx, p) {
			c.cluster.counts.rerouted.Add(1)
			continue
		}
		if fault == Gone || ctx.Err() != nil {
			c.committed(ctx, nil, b) // it may have been written
			c.cluster.hurry()
		} else if b != nil {
			b.ran(p.node.index)
		}
		return uncertain(err)
	}
}

// notSent returns the error of a statement for which there was no connection. That of a
// driver that asks for another attempt is for us, not for database/sql.
func notSent(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return fmt.Errorf("replicate: cannot connect: %v", err) //nolint:errorlint // it must not match
	}
	return err
}

// demoted reports whether a server that refused to write is no primary any longer, and
// drops the connection to it.
func (c *conn) demoted(ctx context.Context, p *physical) bool {
	k := c.cluster
	if k.ask(ctx, p.node) != nil {
		return false
	}
	if v := k.view.Load(); v.primary == p.node.index {
		return false // its transactions are read-only for another reason
	}
	k.hurry()
	c.leave()
	c.pinned = false
	return true
}

// ExecContext runs a statement that returns no rows at the primary.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, text, args, false)
}

func (c *conn) exec(ctx context.Context, text string, args []driver.NamedValue, prepared bool) (driver.Result, error) {
	c.settle()
	b := c.cluster.BookmarkOf(ctx)
	class := c.cluster.classOf(text)
	var result driver.Result
	do := func(p *physical) (err error) {
		if !prepared {
			result, err = p.exec(ctx, text, args)
			return err
		}
		stmt, err := p.prepare(ctx, text)
		if err == nil {
			result, err = p.execPrepared(ctx, stmt, args)
		}
		return err
	}
	if c.tx != nil {
		p := c.tx.p
		if class == Connection {
			p.tainted = true
		}
		err := do(p)
		p.fault(err)
		c.note(b, p, false)
		return result, uncertain(err)
	}
	if err := c.write(ctx, class, b, do); err != nil {
		return nil, err
	}
	c.committed(ctx, c.primary, b)
	if b != nil {
		b.ran(c.primary.node.index)
	}
	return result, nil
}

// Ping asks the primary whether it is there.
func (c *conn) Ping(ctx context.Context) error {
	p, err := c.onPrimary(ctx, false)
	if err != nil {
		return notSent(err)
	}
	if err = p.ping(ctx); err != nil {
		p.fault(err)
	}
	return err
}

// queryRead runs a read at a replica, or at the primary for one of the reasons there are.
func (c *conn) queryRead(ctx context.Context, text string, args []driver.NamedValue, prepared bool, w *wish, b *Bookmark) (driver.Rows, error) {
	k := c.cluster
	var tried uint64
	for attempt := 0; ; attempt++ {
		p, why, err := c.forRead(ctx, text, w, b, tried)
		if err != nil {
			return nil, notSent(err)
		}
		rows, err := run(ctx, p, text, args, prepared)
		if err == nil {
			k.counts.reads[why].Add(1)
			p.node.reads.Add(1)
			if b != nil {
				c.note(b, p, true)
			}
			return rows, nil
		}
		fault := p.fault(err)
		if p != c.replica {
			return nil, err
		}
		c.failed = true
		i := p.node.index
		switch {
		case ctx.Err() != nil || fault == Other || attempt > len(k.nodes):
			if b != nil {
				b.ran(i)
			}
			return nil, err
		case fault == ReadOnly:
			// Nothing has happened. The text is no read after all.
			k.counts.rerouted.Add(1)
			k.classes.Set(text, Write)
			c.releaseReplica()
			return c.queryWrite(ctx, Write, text, args, prepared, b)
		case fault == Conflict:
			tried |= 1 << i
		case fault == Busy:
			tried |= 1 << i
			k.ban(ctx, p.node, err)
		case p.returned != 0:
			_ = p.node.sweep(true) // lost with it, such as when the server was started anew
		default:
			tried |= 1 << i
			k.lose(ctx, p.node, err)
		}
		k.counts.retried.Add(1)
		c.releaseReplica()
	}
}

// forRead borrows a connection for a read, other than to the nodes that were tried.
func (c *conn) forRead(ctx context.Context, text string, w *wish, b *Bookmark, tried uint64) (*physical, Reason, error) {
	k := c.cluster
	level := k.level
	if w != nil {
		if w.hasLevel {
			level = w.level
		}
		if w.target == Primary {
			return c.besides(ctx, ByHint)
		}
	}
	switch {
	case c.pinned:
		return c.besides(ctx, ByConnection)
	case level == Strong:
		return c.besides(ctx, ByLevel)
	}
	if m := uprung.Mode(k.mode.Load()); m != uprung.Enforce && !m.Enforces(text) {
		return c.besides(ctx, ByMode)
	}
	k.refresh(ctx)
	var p progress
	wrote := int64(0)
	if b != nil {
		p = b.at()
	} else {
		wrote = k.wrote.Load()
	}
	for {
		v := k.view.Load()
		now := int64(0)
		if level > 0 {
			now = k.now()
		}
		f := v.fitFor(level, &p, wrote, now)
		set := f.fit &^ tried
		if c.replica != nil {
			if set&(1<<c.replica.node.index) != 0 && !c.replica.broken {
				return c.replica, AtReplica, nil
			}
			// Its rows may still be open: it cannot be given back for another.
			return c.besides(ctx, f.why)
		}
		why := AtReplica
		if set == 0 {
			caught, err := c.catchUp(ctx, v, f.almost&^tried, &p)
			if caught {
				return c.replica, AfterWait, nil
			}
			if err != nil {
				return nil, 0, err
			}
			switch {
			case k.fallback == ToError:
				return nil, 0, k.refusal(ErrNoReplica)
			case k.fallback == ToStale && v.candidates&^tried != 0:
				set, why = v.candidates&^tried, AtStale
			default:
				return c.fallBack(ctx, f.why)
			}
		}
		set = k.nearest(set)
		if p.node != 0 && level.monotonic() && set&(1<<(p.node-1)) != 0 {
			set = 1 << (p.node - 1) // staying where the last read was costs nothing
		}
		if failed, err := c.take(ctx, v, set); err != nil {
			return nil, 0, err
		} else if failed >= 0 {
			tried |= 1 << failed
			continue
		}
		return c.replica, why, nil
	}
}

// take picks one of a set and borrows a connection to it. If that is not to be had, it
// returns which one failed, and otherwise -1. The error is that of ctx.
func (c *conn) take(ctx context.Context, v *view, set uint64) (failed int, err error) {
	k := c.cluster
	ch := k.pick(v, set, &c.filter)
	p, err := ch.node.borrow(ctx, false)
	if err == nil {
		c.replica, c.chosen = p, ch
		return -1, nil
	}
	k.done(ch, uprung.Failure)
	if ctx.Err() != nil {
		return -1, ctx.Err()
	}
	if faultOf(k.dialect, err) == Busy {
		k.ban(ctx, ch.node, err)
	} else {
		k.lose(ctx, ch.node, err)
	}
	k.counts.retried.Add(1)
	return ch.node.index, nil
}

// besides borrows a connection to the primary for a read that belongs there.
func (c *conn) besides(ctx context.Context, why Reason) (*physical, Reason, error) {
	if why == AtReplica || why.fallback() {
		return c.fallBack(ctx, why)
	}
	p, err := c.onPrimary(ctx, false)
	return p, why, err
}

// fallBack borrows a connection to the primary for a read that does not belong there, if
// there is a place for it.
func (c *conn) fallBack(ctx context.Context, why Reason) (*physical, Reason, error) {
	if !c.slot && c.primary == nil {
		if err := c.cluster.slot(ctx); err != nil {
			return nil, why, err
		}
		c.slot = c.cluster.slots != nil
	}
	p, err := c.onPrimary(ctx, false)
	return p, why, err
}

// catchUp borrows a connection to a replica that lacks nothing but a position, as far as
// is known, and asks it, until it has it or the wait is over. It returns false without an
// error if it has not.
func (c *conn) catchUp(ctx context.Context, v *view, almost uint64, p *progress) (bool, error) {
	k := c.cluster
	if almost == 0 || k.wait <= 0 {
		return false, nil
	}
	need, _, known := v.translate(p.need)
	if !known {
		return false, nil
	}
	// A replica that is known to be further behind is not worth the question.
	now := k.now()
	for set := almost; set != 0; set &= set - 1 {
		i, _ := only(set & -set)
		if now-v.members[i].certified > int64(k.wait+2*k.probe) {
			almost &^= 1 << i
		}
	}
	if almost == 0 || !k.waits() {
		return false, nil
	}
	defer k.waiting.Add(-1)
	if failed, err := c.take(ctx, v, k.nearest(almost)); failed >= 0 || err != nil {
		return false, err
	}
	deadline := now + int64(k.wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 8*time.Millisecond) {
		asked := k.now()
		bounded, cancel := context.WithTimeout(ctx, k.probeTimeout)
		report, err := k.dialect.Probe(bounded, c.replica)
		cancel()
		if err != nil {
			c.failed, c.replica.broken = true, true
			c.releaseReplica()
			return false, ctx.Err()
		}
		if report.Role == Replica && report.Epoch == v.epoch && contains(report.Applied, need) {
			k.learn(ctx, c.replica.node, asked, report)
			return true, nil
		}
		if asked+int64(pause) > deadline {
			k.learn(ctx, c.replica.node, asked, report)
			c.releaseReplica()
			return false, nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			c.releaseReplica()
			return false, ctx.Err()
		}
	}
}

// Prepare implements driver.Conn.
func (c *conn) Prepare(text string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), text)
}

// PrepareContext prepares a statement where it would run now, so that its errors are
// known, and keeps the text: it runs where it belongs when it does.
func (c *conn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	c.settle()
	w := wishOf(ctx)
	var tried uint64
	for attempt := 0; ; attempt++ {
		var p *physical
		var err error
		if c.tx != nil {
			p = c.tx.p
		} else if c.classOf(w, text) == Read {
			p, _, err = c.forRead(ctx, text, w, c.cluster.BookmarkOf(ctx), tried)
		} else {
			p, err = c.onPrimary(ctx, true)
		}
		if err != nil {
			return nil, notSent(err)
		}
		stmt, err := p.prepare(ctx, text)
		if err == nil {
			return &statement{conn: c, text: text, inputs: stmt.NumInput()}, nil
		}
		fault := p.fault(err)
		if fault == Other || ctx.Err() != nil || c.tx != nil || c.pinned || attempt > len(c.cluster.nodes) {
			return nil, uncertain(err)
		}
		// Preparing changes nothing: it can be repeated wherever it was.
		_ = p.node.sweep(true)
		if p == c.replica {
			c.failed = true
			if p.returned == 0 {
				tried |= 1 << p.node.index
			}
			c.releaseReplica()
		} else {
			p.broken = true
		}
	}
}

// statement is a prepared statement that no server knows yet.
type statement struct {
	conn   *conn
	text   string
	inputs int
}

var (
	_ driver.StmtQueryContext  = (*statement)(nil)
	_ driver.StmtExecContext   = (*statement)(nil)
	_ driver.NamedValueChecker = (*statement)(nil)
)

// Close forgets the statement. The servers' connections keep theirs for the next.
func (*statement) Close() error { return nil }

// NumInput returns what the driver of a server said.
func (s *statement) NumInput() int { return s.inputs }

// CheckNamedValue accepts everything, as that of the connection.
func (*statement) CheckNamedValue(*driver.NamedValue) error { return nil }

// Exec implements driver.Stmt. database/sql does not call it.
func (s *statement) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), named(args))
}

// Query implements driver.Stmt. database/sql does not call it.
func (s *statement) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), named(args))
}

func named(args []driver.Value) []driver.NamedValue {
	all := make([]driver.NamedValue, len(args))
	for i, v := range args {
		all[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return all
}

// ExecContext runs the statement at the primary.
func (s *statement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.exec(ctx, s.text, args, true)
}

// QueryContext runs the statement where it belongs.
func (s *statement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.query(ctx, s.text, args, true)
}

// tx is a transaction, on one connection to one server.
type tx struct {
	conn     *conn
	inner    driver.Tx
	p        *physical
	readOnly bool
	bookmark *Bookmark
}

// Begin implements driver.Conn. database/sql does not call it.
func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx begins a transaction: at a replica if it is read-only, and otherwise at the
// primary. A server that is lost before it has begun costs another attempt.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	c.settle()
	k := c.cluster
	w, b := wishOf(ctx), k.BookmarkOf(ctx)
	// A hot standby has no serializable transactions.
	reads := opts.ReadOnly && sql.IsolationLevel(opts.Isolation) != sql.LevelSerializable
	var tried uint64
	for attempt := 0; ; attempt++ {
		var p *physical
		var err error
		why := AtReplica
		if reads {
			p, why, err = c.forRead(ctx, "", w, b, tried)
		} else {
			p, err = c.onPrimary(ctx, true)
		}
		if err != nil {
			return nil, notSent(err)
		}
		inner, err := p.begin(ctx, opts)
		if err == nil {
			if reads {
				k.counts.reads[why].Add(1)
				p.node.reads.Add(1)
			} else {
				p.node.writes.Add(1)
			}
			if b != nil {
				b.ran(p.node.index)
			}
			c.tx = &tx{conn: c, inner: inner, p: p, readOnly: opts.ReadOnly, bookmark: b}
			return c.tx, nil
		}
		fault := p.fault(err)
		if fault == Other || ctx.Err() != nil || c.pinned || attempt > len(k.nodes) {
			return nil, notSent(err)
		}
		_ = p.node.sweep(true)
		if p == c.replica {
			c.failed = true
			if p.returned == 0 {
				tried |= 1 << p.node.index
				k.lose(ctx, p.node, err)
			}
			c.releaseReplica()
		} else {
			p.broken = true
		}
	}
}

// Commit commits. Of a transaction that may have written, the position is asked for on
// its own connection.
func (t *tx) Commit() error {
	err := t.inner.Commit()
	t.conn.tx = nil
	fault := t.p.fault(err)
	if !t.readOnly {
		switch {
		case err == nil:
			t.conn.committed(context.Background(), t.p, t.bookmark)
		case fault == Gone:
			t.conn.committed(context.Background(), nil, t.bookmark)
		}
	}
	return uncertain(err)
}

// Rollback rolls back.
func (t *tx) Rollback() error {
	err := t.inner.Rollback()
	t.conn.tx = nil
	t.p.fault(err)
	return uncertain(err)
}

// Unwrap returns the connection of the server's own driver behind what [sql.Conn.Raw]
// hands out, for what database/sql does not know, such as COPY or notifications:
//
//	err = conn.Raw(func(driverConn any) error {
//		inner, err := replicate.Unwrap(ctx, driverConn)
//		...
//	})
//
// It is one to the primary, to a replica if ctx is one of [OnReplica], and that of the
// transaction within one. It is nobody else's until the sql.Conn is closed, and is closed
// then.
func Unwrap(ctx context.Context, driverConn any) (driver.Conn, error) {
	c, ok := driverConn.(*conn)
	if !ok {
		return nil, fmt.Errorf("replicate: driverConn is a %T, want one of a Cluster", driverConn)
	}
	var p *physical
	var err error
	w := wishOf(ctx)
	switch {
	case c.tx != nil:
		p = c.tx.p
	case w != nil && w.target == Replica:
		p, _, err = c.forRead(ctx, "", w, c.cluster.BookmarkOf(ctx), 0)
	default:
		if p, err = c.onPrimary(ctx, true); err == nil {
			c.pinned = true
			c.opened(c.cluster.BookmarkOf(ctx)) // what is done with it may write
		}
	}
	if err != nil {
		return nil, notSent(err)
	}
	p.tainted = true
	return p.conn, nil
}

var _ io.Closer = (*connector)(nil)
