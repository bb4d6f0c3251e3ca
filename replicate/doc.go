// Package replicate sends the reads of an unmodified [database/sql.DB] to replicas and
// its writes to the primary, so that nobody can notice: everybody reads their own writes,
// nobody goes back in time, and a failover is a pause and no error.
//
// Do not use it where the primary alone is enough, nor for servers of which several take
// writes.
//
// # The shortest path
//
//	cluster, err := replicate.New([]replicate.Node{
//		{Name: "db-1", Connector: stdlib.GetConnector(*config1)}, // of pgx
//		{Name: "db-2", Connector: stdlib.GetConnector(*config2)},
//		{Name: "db-3", Connector: stdlib.GetConnector(*config3)},
//	}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	go cluster.Run(ctx)
//	db := sql.OpenDB(cluster.Connector()) // for gorm, sqlx, bun, sqlc, ...
//	handler = cluster.Middleware(handler)
//
// Every statement is looked at by itself, and one that is not certain to be a read goes to
// the primary: so does one that locks rows, calls a function that is not known to only
// read ([Options.ReadFunctions] declares those of extensions and your own), or asks the
// catalog. Transactions go to the primary, those that are begun with
// [database/sql.TxOptions] ReadOnly to a replica. What a statement has changed of its
// connection, by SET or LISTEN, holds for those that follow on the same sql.Conn; if that
// connection is lost they fail, rather than run on one that lacks it.
//
// # Choosing
//
//	a read must see                                             Level
//	what the same client wrote and saw before (the default)     Session
//	that, and all that is older than d                          BoundedStaleness(d)
//	all there is                                                Strong, or OnPrimary
//	what the same client wrote                                  ReadYourWrites
//	what the same client saw                                    Monotonic
//	anything                                                    Eventual
//
// A client is a [Bookmark] in the context, such as [Cluster.Middleware] puts there for each
// request and carries to the next in a cookie; grpctoken does it for gRPC. Statements
// without one are taken for those of one client of many, by whose every write they must
// have: in a program that writes all the time they read at the primary, unless they are
// Eventual. They promise nothing about what was seen.
//
// # Behavior
//
// What sql.OpenDB returns has virtual connections. One borrows a connection to a server
// for a statement or a transaction, from a pool of that server, and gives it back when
// rows or transaction are over; [database/sql.DB.SetMaxOpenConns] bounds the virtual ones,
// each of which borrows two at most. Rows are those of the driver; [Unwrap] gives access to
// the rest of it.
//
// After a write under a bookmark its connection is asked for its position, which costs a
// round trip; every replica is probed for its own. A read goes to a replica that is known
// to have reached the position, or is asked and about to. What is known is judged by one
// clock, that of this program: a replica is as fresh as the last time at which the primary
// was asked for a position that the replica has reached since.
//
// A promotion raises the epoch, in PostgreSQL the timeline. A server of an older one is
// used for nothing, so that a primary that comes back from a crash is none. What was
// written there alone is lost, and counted; nobody waits for it.
//
// A statement that may have been executed is never repeated: its error matches
// [ErrUncertain] where a driver asks database/sql for a repetition. Reads are, at another
// server, before their first row. An error within the rows reaches the caller, and so
// does the refusal of a statement that only looked like a read, if the driver tells it
// no earlier than with the rows, as lib/pq does.
//
// Reads that no replica is fit for go to the primary, a limited number at a time. What is
// kept in memory is bounded: 4096 statements, 128 positions of the primary, the connections
// of the pools.
//
// # References
//
//   - Terry, Demers, Petersen, Spreitzer, Theimer, Welch: Session Guarantees for Weakly
//     Consistent Replicated Data. PDIS 1994.
//   - PostgreSQL documentation: High Availability, Load Balancing, and Replication.
//   - MariaDB documentation: Global Transaction ID.
package replicate
