package replicate

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/uprung/uprung/internal/memsql"
)

// What a read costs more than one of the driver alone, with a class that is known.
func BenchmarkRead(b *testing.B) {
	servers := memsql.New(2)
	c, err := New(nodesOf(servers, 3), nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	defer func() {
		stop()
		<-ended
	}()
	raw, ours := sql.OpenDB(servers.Node(0)), sql.OpenDB(c.Connector())
	defer raw.Close()
	defer ours.Close()
	if _, err := raw.ExecContext(ctx, updateValue, "a", 1); err != nil {
		b.Fatal(err)
	}
	for !c.view.Load().claims(0) || c.view.Load().candidates != 6 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	for name, run := range map[string]struct {
		db  *sql.DB
		ctx context.Context //nolint:containedctx // a row of a table
	}{"raw": {raw, ctx}, "ours": {ours, ctx}, "bookmark": {ours, c.WithBookmark(ctx, nil)}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var value int64
			for b.Loop() {
				if err := run.db.QueryRowContext(run.ctx, selectValue, "a").Scan(&value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
