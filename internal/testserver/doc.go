// Package testserver starts real servers for tests: Redis or Valkey, single or as
// a cluster, PostgreSQL with streaming standbys, MariaDB with replicas by GTID.
// It finds the binaries on the machine, runs them on free ports of the loopback
// interface with their data in a directory of the test, and ends them with the
// test, or with the test's process, however that ends.
//
//	server := testserver.Redis(t)
//	client := dial(server.Addr())
//	server.Pause()   // hung: connections stay open, nothing answers
//	server.Resume()
//	server.Kill()    // gone: connections are reset, new ones refused
//	server.Restart() // back on the same port
//
//	primary := testserver.Postgres(t)
//	standby := primary.Replica()
//	standby.Delay(200 * time.Millisecond)
//	primary.Kill()
//	standby.Promote()
//	primary.Rewind(standby) // the old primary returns as a standby
//
// # Behavior
//
// Where a binary is missing the test is skipped with a line that says what to
// install. With UPRUNG_REQUIRE_SERVERS=1 in the environment it fails instead, so
// that a machine meant to run everything cannot pass by skipping.
//
// A constructor returns once the server answers. Faults are methods of the server;
// they may be called from any goroutine, one at a time, and report trouble
// through Errorf, which fails the test without ending the calling goroutine.
//
// Database servers refuse to run as root: if the test does, they run as the user
// postgres, mysql or nobody.
//
// Nothing is forced to disk. Redis loses its data when it is killed, unless a
// setting says otherwise; a database keeps what was committed, as the machine
// lives on. Ports lie below the range that the system gives to outgoing
// connections, so that a killed server finds its port free when it returns.
//
// Programs that are no tests, benchmarks for example, use [Run].
package testserver
