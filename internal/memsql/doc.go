// Package memsql is a model of a replicated database in memory, behind database/sql: one
// primary, and replicas that lag behind it, are paused, cut off, lost and promoted. It is
// for tests, examples and measurements that run where no server is, and in bubbles of
// testing/synctest: it starts no goroutine, and time passes only as package time says.
//
// It stores one table of keys and values, and speaks as much of the language of
// PostgreSQL as is needed:
//
//	SELECT value FROM kv WHERE key = $1
//	UPDATE kv SET value = $2 WHERE key = $1
//
// every UPDATE and INSERT sets the value of $1 to $2, and one with RETURNING returns it;
// a SELECT of a function called write_value sets it too. It answers the questions by
// which package replicate finds out what a server is, and refuses to write at a replica,
// with the SQLSTATEs of PostgreSQL. Whatever else is asked has no effect.
//
// It is a model: it says nothing about how fast a real database is.
package memsql
