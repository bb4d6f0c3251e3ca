// Package sqlclass tells from the text of an SQL statement whether a replica may
// run it, in the dialects of PostgreSQL and of MySQL and MariaDB.
//
//	s := sqlclass.Classify(sqlclass.PostgreSQL, "SELECT name FROM users WHERE id = $1")
//	s.Replica() // true
//
// It is a lexer, not a parser: it finds the words outside of quotes and comments
// exactly as the server does, and decides on them. What it is not sure of is no
// read. It takes about seven nanoseconds a byte and no allocation; a [Cache]
// remembers the answers.
//
// # What is a read
//
// A single SELECT, VALUES, TABLE, WITH or EXPLAIN of these, in which every
// function called is known to have no effect, and that neither writes (a WITH
// that deletes, INTO), locks (FOR UPDATE), touches what belongs to the connection
// (temporary tables, settings, advisory locks, user variables), nor asks for
// what differs from node to node (system catalogs while they lag behind a
// migration, server variables). Functions of the user are unknown until they are
// declared to a [Classifier].
//
// # What no text tells
//
// A view, a rule, a policy, an operator or a cast may call a function that
// writes; so may the functional notation of PostgreSQL, row.function. A standby
// of PostgreSQL refuses such a statement with SQLSTATE 25006 and nothing has
// happened: run it on the primary then, and remember it as a write.
//
// The text is taken to be in an encoding whose ASCII bytes stand for themselves,
// as UTF-8 does.
//
// # Hints
//
// A comment that holds nothing but uprung:primary or uprung:replica is a hint.
// The first sends a read to the primary. The second vouches for functions that
// the classifier does not know, and for reads of the catalog; it makes no write a
// read.
package sqlclass
