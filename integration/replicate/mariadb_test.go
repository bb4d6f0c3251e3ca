package replicate

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/uprung/uprung/internal/testserver"
	"github.com/uprung/uprung/replicate"
)

func TestMariaDB(t *testing.T) {
	primary := testserver.MariaDB(t)
	servers := []*testserver.MariaDBServer{primary, primary.Replica()}
	var nodes []replicate.Node
	for i, s := range servers {
		config, err := mysql.ParseDSN(s.DSN())
		if err != nil {
			t.Fatal(err)
		}
		connector, err := mysql.NewConnector(config)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, replicate.Node{Name: fmt.Sprint("db-", i), Connector: connector})
	}
	cluster, err := replicate.New(nodes, &replicate.Options{Dialect: replicate.MariaDB()})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(cluster.Connector())
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = cluster.Run(ctx) })
	defer func() {
		stop()
		running.Wait()
		_ = db.Close()
	}()
	for _, text := range []string{`CREATE DATABASE IF NOT EXISTS shop`, `CREATE TABLE shop.kv (k INT PRIMARY KEY, v BIGINT NOT NULL)`, `INSERT INTO shop.kv VALUES (1, 0)`} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(500 * time.Millisecond)
	client := cluster.WithBookmark(t.Context(), nil)
	for round, delay := range []time.Duration{0, time.Second} {
		servers[1].Delay(delay)
		time.Sleep(500 * time.Millisecond)
		for i := range int64(20) {
			value := int64(round)*100 + i + 1
			if _, err := db.ExecContext(client, `UPDATE shop.kv SET v = ? WHERE k = ?`, value, 1); err != nil {
				t.Fatal(err)
			}
			var got int64
			if err := db.QueryRowContext(client, `SELECT v FROM shop.kv WHERE k = ?`, 1).Scan(&got); err != nil || got != value {
				t.Fatalf("delay %v: value is %d, %v; want %d", delay, got, err, value)
			}
		}
	}
	servers[1].Delay(0)
	time.Sleep(1500 * time.Millisecond)
	var got int64
	if err := db.QueryRowContext(client, `SELECT v FROM shop.kv WHERE k = ?`, 1).Scan(&got); err != nil || got != 120 {
		t.Errorf("value is %d, %v; want 120", got, err)
	}
	if node, _ := cluster.NodeOf(client); node != "db-1" {
		t.Errorf("a read is at %s, want the replica; %+v", node, cluster.Stats())
	}
}
