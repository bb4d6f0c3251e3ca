// Command gorm is an online shop on gorm whose reads go to the standbys of a PostgreSQL
// server, while every customer reads their own orders:
//
//	go run ./examples/gorm "host=db-0 user=shop dbname=shop" "host=db-1 ..." "host=db-2 ..."
//
// The first server is the primary. gorm is not told of the others: it has one *sql.DB.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/uprung/uprung/replicate"
)

// Order is a row of a table.
type Order struct {
	ID       uint
	Customer string
	Item     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Args[1:]); err != nil {
		log.Fatal(err) //nolint:gocritic // there is nothing to give back
	}
}

// run lets customers order, and look at once for what they have ordered.
func run(ctx context.Context, out io.Writer, dsns []string) (err error) {
	var nodes []replicate.Node
	for i, dsn := range dsns {
		config, err := pgx.ParseConfig(dsn)
		if err != nil {
			return err
		}
		nodes = append(nodes, replicate.Node{Name: fmt.Sprint("db-", i), Connector: stdlib.GetConnector(*config)})
	}
	cluster, err := replicate.New(nodes, nil)
	if err != nil {
		return err
	}
	probing, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = cluster.Run(probing) }) // it returns nil once probing ends
	defer running.Wait()
	defer stop()

	pool := sql.OpenDB(cluster.Connector())
	defer func() { err = errors.Join(err, pool.Close()) }()
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}))
	if err != nil {
		return err
	}
	if err := db.WithContext(ctx).AutoMigrate(&Order{}); err != nil {
		return err
	}

	missed, replicas, reads := 0, 0, 0
	for i := range 50 {
		customer := fmt.Sprint("customer ", i)
		// Of a web service, cluster.Middleware makes the context of a request one like this.
		request := cluster.WithBookmark(ctx, nil)
		mine := db.WithContext(request)
		if err := mine.Create(&Order{Customer: customer, Item: "a book"}).Error; err != nil {
			return err
		}
		for range 4 {
			var orders []Order
			if err := mine.Where("customer = ?", customer).Find(&orders).Error; err != nil {
				return err
			}
			reads++
			if len(orders) == 0 {
				missed++
			}
			if node, _ := cluster.NodeOf(request); node != "db-0" {
				replicas++
			}
		}
	}
	_, err = fmt.Fprintf(out, "%d reads, %d of them at standbys; %d missed the order that was just made\n", reads, replicas, missed)
	return err
}
