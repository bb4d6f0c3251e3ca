package replicate

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/bxcodec/dbresolver/v2"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	gormresolver "gorm.io/plugin/dbresolver"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/internal/memsql"
	"github.com/uprung/uprung/replicate"
)

// key is the one that is read and written.
const key = "a"

// serve returns a model whose servers all have the value.
func serve() (*memsql.Cluster, error) {
	servers := memsql.New(2)
	db := sql.OpenDB(servers.Node(0))
	defer func() { _ = db.Close() }() // the model's Close never fails
	_, err := db.ExecContext(context.Background(), update, key, value)
	return servers, err
}

// pools are those that the statements of a subject go to by database/sql.
type pools struct {
	ctx      context.Context //nolint:containedctx // of all operations
	reads    *sql.DB
	writes   *sql.DB
	teardown func()
}

func (p *pools) read(n int) (met int) {
	for range n {
		var got int64
		if p.reads.QueryRowContext(p.ctx, query, key).Scan(&got) == nil && got == value {
			met++
		}
	}
	return met
}

func (p *pools) exec(n int) (met int) {
	for range n {
		if _, err := p.writes.ExecContext(p.ctx, update, key, value); err == nil {
			met++
		}
	}
	return met
}

func (p *pools) tx(n int) (met int) {
	for range n {
		tx, err := p.writes.BeginTx(p.ctx, nil)
		if err != nil {
			continue
		}
		_, err = tx.ExecContext(p.ctx, update, key, value)
		if errors.Join(err, tx.Commit()) == nil {
			met++
		}
	}
	return met
}

func (p *pools) Close() { p.teardown() }

func openRaw(*bench.Env) (subject, error) {
	servers, err := serve()
	if err != nil {
		return nil, err
	}
	p := &pools{ctx: context.Background(), reads: sql.OpenDB(servers.Node(1)), writes: sql.OpenDB(servers.Node(0))}
	p.teardown = func() { _, _ = p.reads.Close(), p.writes.Close() }
	return p, nil
}

func openOurs(bookmark bool) func(*bench.Env) (subject, error) {
	return func(*bench.Env) (subject, error) {
		servers, err := serve()
		if err != nil {
			return nil, err
		}
		cluster, err := replicate.New([]replicate.Node{
			{Name: "p", Connector: servers.Node(0)}, {Name: "r1", Connector: servers.Node(1)}, {Name: "r2", Connector: servers.Node(2)},
		}, nil)
		if err != nil {
			return nil, err
		}
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = cluster.Run(ctx) }) // it returns nil when ctx ends
		p := &pools{ctx: context.Background()}
		if bookmark {
			p.ctx = cluster.WithBookmark(p.ctx, nil)
		}
		p.reads = sql.OpenDB(cluster.Connector())
		p.writes = p.reads
		p.teardown = func() {
			stop()
			running.Wait()
			_ = p.reads.Close()
		}
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			up := 0
			for _, n := range cluster.Stats().Nodes {
				if n.Up {
					up++
				}
			}
			if up == 3 {
				return p, nil
			}
			if time.Since(began) > time.Minute {
				p.Close()
				return nil, errors.New("the servers were not probed")
			}
		}
	}
}

// resolver is bxcodec's.
type resolver struct {
	db  dbresolver.DB
	ctx context.Context //nolint:containedctx // of all operations
}

func openDBResolver(*bench.Env) (subject, error) {
	servers, err := serve()
	if err != nil {
		return nil, err
	}
	db := dbresolver.New(
		dbresolver.WithPrimaryDBs(sql.OpenDB(servers.Node(0))),
		dbresolver.WithReplicaDBs(sql.OpenDB(servers.Node(1)), sql.OpenDB(servers.Node(2))),
		dbresolver.WithLoadBalancer(dbresolver.RoundRobinLB))
	return &resolver{db, context.Background()}, nil
}

func (r *resolver) read(n int) (met int) {
	for range n {
		var got int64
		if r.db.QueryRowContext(r.ctx, query, key).Scan(&got) == nil && got == value {
			met++
		}
	}
	return met
}

func (r *resolver) exec(n int) (met int) {
	for range n {
		if _, err := r.db.ExecContext(r.ctx, update, key, value); err == nil {
			met++
		}
	}
	return met
}

func (r *resolver) tx(n int) (met int) {
	for range n {
		tx, err := r.db.BeginTx(r.ctx, nil)
		if err != nil {
			continue
		}
		_, err = tx.ExecContext(r.ctx, update, key, value)
		if errors.Join(err, tx.Commit()) == nil {
			met++
		}
	}
	return met
}

func (r *resolver) Close() { _ = r.db.Close() }

// orm is gorm with its plugin.
type orm struct {
	db  *gorm.DB
	dbs []*sql.DB
}

func openGorm(*bench.Env) (subject, error) {
	servers, err := serve()
	if err != nil {
		return nil, err
	}
	o := &orm{}
	dialector := func(i int) gorm.Dialector {
		db := sql.OpenDB(servers.Node(i))
		o.dbs = append(o.dbs, db)
		return postgres.New(postgres.Config{Conn: db})
	}
	if o.db, err = gorm.Open(dialector(0), &gorm.Config{Logger: logger.Discard, SkipDefaultTransaction: true}); err != nil {
		return nil, err
	}
	err = o.db.Use(gormresolver.Register(gormresolver.Config{
		Replicas: []gorm.Dialector{dialector(1), dialector(2)}, Policy: gormresolver.RandomPolicy{},
	}))
	return o, err
}

func (o *orm) read(n int) (met int) {
	for range n {
		var got int64
		if o.db.Raw(query, key).Row().Scan(&got) == nil && got == value {
			met++
		}
	}
	return met
}

func (o *orm) exec(n int) (met int) {
	for range n {
		if o.db.Exec(update, key, int64(value)).Error == nil {
			met++
		}
	}
	return met
}

func (o *orm) tx(n int) (met int) {
	for range n {
		if o.db.Transaction(func(tx *gorm.DB) error { return tx.Exec(update, key, int64(value)).Error }) == nil {
			met++
		}
	}
	return met
}

func (o *orm) Close() {
	for _, db := range o.dbs {
		_ = db.Close()
	}
}
