package replicate

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/uprung/uprung/internal/sqlclass"
)

// Class says where a statement may run. The zero value is the careful one.
type Class uint8

const (
	// Unsure is a statement that may write, as far as can be told: it goes to the
	// primary, and what follows sees what it may have written.
	Unsure Class = iota
	// Read is a statement that reads and does nothing else, whatever the data. It may
	// go to a replica.
	Read
	// Write is a statement that writes.
	Write
	// Connection is a statement that changes the connection it runs on, such as SET,
	// LISTEN or an advisory lock: it goes to the primary, what follows on the same
	// sql.Conn stays there, and nobody else is given that connection after it.
	Connection
	// Memory is a statement that asks for what its connection remembers of earlier ones,
	// such as lastval() or LAST_INSERT_ID(): it goes to the primary, and to the connection
	// that earlier statements on the same sql.Conn have used there. If that was lost it
	// is refused.
	Memory
)

// Fault says what an error of a driver means for the choice of a server.
type Fault uint8

const (
	// Other is an error of the statement: it goes to the caller.
	Other Fault = iota
	// ReadOnly says that the server refused to write, and has done nothing.
	ReadOnly
	// Gone says that the connection is lost or the server is going away.
	Gone
	// Busy says that the server takes no more connections.
	Busy
	// Conflict says that a replica gave up a read because of what it has to replay.
	Conflict
)

// Asker asks a server one question.
type Asker interface {
	// Ask runs a statement without arguments and returns its first row, each column as
	// text; NULL is empty. Without a row it returns an error.
	Ask(ctx context.Context, statement string) ([]string, error)
}

// Dialect is what this package has to know of a kind of server. Those of this package
// are made by [PostgreSQL], [MariaDB] and [MySQL]. Its methods are called concurrently.
type Dialect interface {
	// Classify says where a statement may run. Its answers are remembered.
	Classify(statement string) Class
	// Probe asks a server what it is and how far it has come, in as few round trips as
	// can be.
	Probe(ctx context.Context, server Asker) (Report, error)
	// Position asks the primary for a position that contains all that this connection
	// has committed, and preferably nothing more. Zero means that it has written
	// nothing. Where servers tell an epoch it contains all that this connection could
	// have read, too.
	Position(ctx context.Context, primary Asker) (Position, error)
	// Fault says what an error of the driver means. It is not asked about nil, nor about
	// errors that match [driver.ErrBadConn], [io.EOF], [io.ErrUnexpectedEOF] or a
	// [net.Error] that is no timeout, which are Gone.
	Fault(err error) Fault
}

// declarer is a Dialect that can be told of functions that are free of effects.
type declarer interface {
	declare(functions []string) (Dialect, error)
}

// classifier classifies as one of the dialects of sqlclass does.
type classifier struct {
	language sqlclass.Dialect
	declared *sqlclass.Classifier // nil if no function is declared
}

// Classify implements Dialect.
func (c classifier) Classify(text string) Class {
	if c.declared != nil {
		return classOf(c.declared.Classify(text))
	}
	return classOf(sqlclass.Classify(c.language, text))
}

func (c *classifier) declares(functions []string) (err error) {
	c.declared, err = sqlclass.New(c.language, functions...)
	return err
}

// classOf returns where a statement may run, by what its text tells.
func classOf(s sqlclass.Statement) Class {
	switch {
	case s.Replica():
		return Read
	case s.Effects&^sqlclass.Memory != 0:
		return Connection
	case s.Class == sqlclass.Transaction && s.Tx != sqlclass.Savepoint:
		return Connection
	case s.Effects != 0:
		return Memory
	case s.Class == sqlclass.Write:
		return Write
	default:
		return Unsure
	}
}

// faultOf says what an error means.
func faultOf(d Dialect, err error) Fault {
	if err == nil {
		return Other
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Other // the caller's own haste
	}
	if f := d.Fault(err); f != Other {
		return f
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return Gone
	}
	if netErr, ok := errors.AsType[net.Error](err); ok && !netErr.Timeout() {
		return Gone
	}
	return Other
}

// sqlState returns the SQLSTATE of an error of a PostgreSQL driver, or "". pgx and lib/pq
// both have this method.
func sqlState(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}

// serverNumber returns the number of an error of a MySQL or MariaDB server, which the
// usual driver has in a field alone, from its text, "Error 1290 (HY000): ...".
func serverNumber(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if rest, ok := strings.CutPrefix(err.Error(), "Error "); ok {
			number, _, _ := strings.Cut(rest, " ")
			return strings.TrimSuffix(number, ":")
		}
	}
	return ""
}
