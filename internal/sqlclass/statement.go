package sqlclass

// Dialect is the language that a server reads. The zero value is PostgreSQL.
type Dialect uint8

const (
	// PostgreSQL and what speaks its language.
	PostgreSQL Dialect = iota
	// MySQL and MariaDB.
	MySQL
)

func (d Dialect) String() string {
	if d == MySQL {
		return "mysql"
	}
	return "postgresql"
}

// Class is what a statement does. Only a Read may run on a replica. The zero
// value is Unsure.
type Class uint8

const (
	// Unsure may do anything: it belongs on the primary and counts as a write.
	Unsure Class = iota
	// Read changes nothing, neither data nor the connection.
	Read
	// Write changes or locks data, or the schema.
	Write
	// Session changes or needs the state of its connection, as Effects says, and
	// writes no data.
	Session
	// Transaction begins, ends or divides a transaction, as Tx says.
	Transaction
)

func (c Class) String() string {
	return [...]string{"unsure", "read", "write", "session", "transaction"}[c]
}

// Effects are what ties a statement to its connection, as a set of bits. A
// connection on which a statement with any of them has run must serve the
// statements that follow, until it is given back.
type Effects uint16

const (
	// Setting changes a setting of the connection: SET, RESET, set_config, USE.
	Setting Effects = 1 << iota
	// TempTable creates or names a temporary table.
	TempTable
	// Prepared makes, runs or drops a statement prepared by name in SQL.
	Prepared
	// Cursor opens, reads or closes a cursor: DECLARE, FETCH, HANDLER.
	Cursor
	// Listen subscribes to notifications: LISTEN, UNLISTEN.
	Listen
	// Lock takes or gives back a lock of the connection: pg_advisory_lock, GET_LOCK,
	// LOCK TABLES.
	Lock
	// Memory asks for what the connection remembers of earlier statements: lastval,
	// LAST_INSERT_ID, FOUND_ROWS, user variables.
	Memory
)

// Tx is what a statement does to the transaction of its connection.
type Tx uint8

const (
	// NoTx leaves it as it is.
	NoTx Tx = iota
	// Begin opens one that may write.
	Begin
	// BeginReadOnly opens one that was declared READ ONLY, of an isolation that a
	// replica can give.
	BeginReadOnly
	// Commit ends it. So does PREPARE TRANSACTION, which leaves it to others.
	Commit
	// Rollback undoes it.
	Rollback
	// Chain ends it and opens the next: COMMIT AND CHAIN, ROLLBACK AND CHAIN.
	Chain
	// Savepoint sets, releases or returns to a savepoint: it stays open.
	Savepoint
)

// Hint is what a comment of the statement asks for.
type Hint uint8

const (
	// NoHint says that no comment asks for anything.
	NoHint Hint = iota
	// ToReplica vouches that the statement only reads. It is set by the comment
	// uprung:replica.
	ToReplica
	// ToPrimary asks for the primary. It is set by the comment uprung:primary, and
	// wins over ToReplica.
	ToPrimary
)

// Reason says why a statement is no Read.
type Reason uint8

const (
	// IsRead says that it is one.
	IsRead Reason = iota
	// ByVerb says that its first word is that of no read.
	ByVerb
	// ByFunction says that it calls a function that is not known to be free of effects.
	ByFunction
	// ByCatalog says that it asks the system catalog, which lags on a replica as data does:
	// migration tools then create a table twice.
	ByCatalog
	// ByNode says that the answer depends on the node or the connection: SHOW, server variables,
	// EXPLAIN ANALYZE.
	ByNode
	// ByWrite says that it writes although it begins as a read does: WITH .. DELETE, SELECT INTO.
	ByWrite
	// ByRowLock says that it locks rows: FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
	ByRowLock
	// BySession says that it changes or needs the state of the connection.
	BySession
	// ByMany says that the text holds more than one statement.
	ByMany
	// BySyntax says that the text is not understood, or a setting of the server decides how it
	// is read.
	BySyntax
)

func (r Reason) String() string {
	return [...]string{
		"read", "verb", "function", "catalog", "node", "write", "row_lock", "session", "many", "syntax",
	}[r]
}

// Statement is what the text of a statement tells. It is a small value, made to
// be copied and compared.
type Statement struct {
	Class   Class
	Reason  Reason
	Tx      Tx // of a text with several statements: what is left at its end
	Hint    Hint
	Effects Effects
}

// Replica reports whether a replica may run the statement, its hint considered.
func (s Statement) Replica() bool {
	switch s.Hint {
	case ToPrimary:
		return false
	case ToReplica:
		return s.Class == Read || s.Class == Unsure && s.Effects == 0 && (s.Reason == ByFunction || s.Reason == ByCatalog)
	}
	return s.Class == Read
}

// Writes reports whether the statement may have changed data: a session that
// must read its own writes needs a new position after it.
func (s Statement) Writes() bool { return s.Class == Write || s.Class == Unsure }
