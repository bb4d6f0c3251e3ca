// Package rediscache is the second tier of package cache in Redis or Valkey: all processes
// share what one of them has loaded, load each key once, and drop from memory what another
// has changed. It serves single servers, Sentinel and Redis Cluster, from version 6 on.
//
//	store, err := rediscache.New(rueidis.ClientOption{InitAddress: []string{"redis:6379"}}, nil)
//	...
//	defer store.Close()
//	users, err := cache.New(10_000, &cache.Options[string, User]{
//		Store: store, Namespace: "users", TTL: time.Hour,
//		Codec: rediscache.S2(cache.JSON[User]()),
//	})
//
// Do not use it for what must not be lost: it is a cache, and Redis may evict.
//
// # Behavior
//
// Memory. The server remembers what a process has read and tells it, on the same
// connection, when another changes that (CLIENT TRACKING, its default mode): each process
// hears of the keys that it holds and of no others. What a process writes itself it reads
// in the same step, so that it hears of the next change by another. Nothing needs to be
// published. A server remembers as many keys as its tracking-table-max-keys says, and
// drops the surplus from the memory of the processes.
//
// A lost connection. All that is held in memory is void at once, and once more when Redis
// answers again. A connection that is silently cut is noticed after about two seconds, by
// pings. A key whose call failed, so that a value was loaded without the server knowing, is
// void when Redis answers again; more than a thousand of them, and all are.
//
// One load in all processes. A lease is a value of the key that only its holder can
// replace, in one step with the check that it still does: whatever deletes or sets the key
// meanwhile ends it. Who waits for a lease is woken by the server. That of a process that
// has died runs out, after [cache.Options].Lease, and another takes over.
//
// Expiry is by the clock of the server alone. Each value has the instant in it at which it
// expires, and a process knows by how much its clock differs, as of a second ago; in a
// cluster it asks each time.
//
// An outage. New does no I/O; the first call connects. No call takes longer than
// [Options].Timeout. After three failures in a row calls fail at once, with an error that
// matches [ErrDown], until a probe that nobody waits for has found Redis back, half a second
// later at the most. In a cluster one node that is gone does not take the keys of the
// others with it. While calls are failing, and no longer, a Store has a goroutine that finds
// out when that ends; Close waits for it.
//
// Security. Whoever can write to Redis can change what the cache returns, unless its codec
// is that of [cache.Encrypt]. Connections are encrypted if the options of the client have
// a TLSConfig.
//
// # References
//
//   - Nishtala et al., Scaling Memcache at Facebook, NSDI 2013, section 3.2.1 (leases).
//   - Redis documentation, Client-side caching in Redis.
package rediscache
