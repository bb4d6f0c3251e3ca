package replicate

import (
	"context"
	"database/sql"
	"database/sql/driver"
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

// What the choice of a server costs, without database/sql.
func BenchmarkRoute(b *testing.B) {
	servers := memsql.New(2)
	c, err := New(nodesOf(servers, 3), &Options{Probe: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	k, err := c.Connector().Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	virtual := k.(*conn)
	c.refresh(b.Context())
	c.coarse.Store(c.now())
	c.running.Store(1) // as far as reads can tell
	inner, err := servers.Node(1).Connect(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	raw := inner.(driver.QueryerContext)
	ctx := context.Background()
	args := []driver.NamedValue{{Ordinal: 1, Value: "a"}}
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := raw.QueryContext(ctx, selectValue, args); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, ctx := range map[string]context.Context{"ours": ctx, "bookmark": c.WithBookmark(ctx, nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := virtual.QueryContext(ctx, selectValue, args); err != nil {
					b.Fatal(err)
				}
				virtual.IsValid()
			}
		})
	}
}
