// Command replicas sends the statements of one *sql.DB to a primary and two replicas that
// lag, and tells where each ran: a read of what was just written at the primary, the same
// at a replica when it is there, and everything at another server after a failover.
//
//	go run ./examples/replicas
//
// The servers are a model in memory. With PostgreSQL, a node has for example
// stdlib.GetConnector of pgx instead, and nothing else changes.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/uprung/uprung/internal/memsql"
	"github.com/uprung/uprung/replicate"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (err error) {
	servers := memsql.New(2)
	servers.Node(1).SetLag(200 * time.Millisecond)
	servers.Node(2).SetLag(200 * time.Millisecond)
	cluster, err := replicate.New([]replicate.Node{
		{Name: "db-1", Connector: servers.Node(0)},
		{Name: "db-2", Connector: servers.Node(1)},
		{Name: "db-3", Connector: servers.Node(2)},
	}, nil)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = cluster.Run(ctx) }) // it returns nil when ctx ends
	db := sql.OpenDB(cluster.Connector())
	defer func() {
		stop()
		running.Wait()
		if closed := db.Close(); err == nil {
			err = closed
		}
	}()

	// One client of the program. Cluster.Middleware makes such a context for each request.
	mine := cluster.WithBookmark(ctx, nil)
	write := func(likes int) error {
		if _, err := db.ExecContext(mine, "UPDATE kv SET value = $2 WHERE key = $1", "likes", likes); err != nil {
			return err
		}
		node, _ := cluster.NodeOf(mine)
		_, err := fmt.Fprintf(out, "wrote %d at %s\n", likes, node)
		return err
	}
	read := func() error {
		var likes int
		if err := db.QueryRowContext(mine, "SELECT value FROM kv WHERE key = $1", "likes").Scan(&likes); err != nil {
			return err
		}
		node, _ := cluster.NodeOf(mine)
		_, err := fmt.Fprintf(out, "read %d at %s\n", likes, node)
		return err
	}

	time.Sleep(150 * time.Millisecond) // the servers are asked what they are
	if err := write(1); err != nil {
		return err
	}
	if err := read(); err != nil { // no replica has it yet
		return err
	}
	time.Sleep(500 * time.Millisecond)
	if err := read(); err != nil { // now they have
		return err
	}

	servers.Node(0).Crash()
	servers.Node(1).Promote()
	time.Sleep(150 * time.Millisecond) // it is noticed
	if err := write(2); err != nil {
		return err
	}
	return read()
}
