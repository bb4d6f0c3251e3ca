package rediscache_test

import (
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/cachetest"
	"github.com/uprung/uprung/cache/rediscache"
	"github.com/uprung/uprung/internal/testserver"
)

// patient is long enough for a machine that does other things.
const patient = 2 * time.Second

func open(t *testing.T, timeout time.Duration, addrs ...string) *rediscache.Store {
	t.Helper()
	s, err := rediscache.New(rueidis.ClientOption{InitAddress: addrs}, &rediscache.Options{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	cachetest.TestStore(t, func(t *testing.T) cache.Store { return open(t, patient, server.Addr()) })
}

func TestConformanceOfACluster(t *testing.T) {
	t.Parallel()
	nodes := testserver.RedisCluster(t)
	cachetest.TestStore(t, func(t *testing.T) cache.Store { return open(t, patient, nodes[0].Addr(), nodes[1].Addr()) })
}
