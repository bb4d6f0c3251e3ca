package redislimit_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/internal/testserver"
	"github.com/uprung/uprung/ratelimit"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

func BenchmarkTake(b *testing.B) {
	server := testserver.Redis(b)
	store, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{server.Addr()}}, &redislimit.StoreOptions{Timeout: patient})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	for _, bm := range []struct {
		name  string
		limit ratelimit.Limit
		keys  int
		o     redislimit.Options
	}{
		{"keys=10k", ratelimit.PerSecond(1e6), 10_000, redislimit.Options{}},
		{"keys=1/lease", ratelimit.PerSecond(1e7), 1, redislimit.Options{Lease: 100}},
		{"keys=1/denied", ratelimit.PerSecond(10), 1, redislimit.Options{}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			bm.o.Options = named(name())
			l, err := redislimit.New(bm.limit, store, &bm.o)
			if err != nil {
				b.Fatal(err)
			}
			keys := make([]string, bm.keys)
			for i := range keys {
				keys[i] = "client-" + strconv.Itoa(i)
			}
			var callers atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for i := int(callers.Add(1)) * 7919; pb.Next(); i++ {
					if _, err := l.Take(b.Context(), keys[i%len(keys)], 1); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
