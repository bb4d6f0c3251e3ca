// Package redislimit has the limits of package ratelimit hold for a whole fleet: they
// are kept in Redis, Valkey or a Redis Cluster, and every process that shares a limiter's
// name counts together.
//
// A decision is one script in Redis, by the clock of Redis, and takes a round trip or
// less. What is known to be denied is denied without asking, and a busy key can be bought
// ahead for, a hundred events at a time. While Redis is away each process goes on by
// itself with its part of the limit.
//
// Do not use it for one process: [ratelimit.Limiter] decides in 40 ns. Do not use it where
// half a millisecond matters and a limit of rate/replicas in each process would do.
//
// # The shortest path
//
//	store, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{"redis:6379"}}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer store.Close()
//	limiter, err := redislimit.New(ratelimit.PerSecond(100), store, &redislimit.Options{
//		Options:  ratelimit.Options{Name: "per-client", Key: key.Direct(nil)},
//		Replicas: func() int { return 4 },
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(http.ListenAndServe(":8080", limiter.Middleware(mux)))
//
// # Choosing
//
//	you want                                       use
//	yes or no, now                                 Allow
//	the same, and where the key stands             Take
//	as many as there are                           TakeUpTo
//	to look without taking                         Peek
//	to give back what was not used                 Refund
//	a limit per tenant or plan                     Options.LimitFor
//	several limits of a key in one call            All
//	a tenth of the calls for keys that are busy    Options.Lease
//	no surprises from other processes' refunds     Options.DenyAge: -1
//	guesses of passwords to stop with Redis        Options.Down: Closed
//	no limit to stop with Redis                    Options.Down: Open
//	go-redis, or a client that you have            NewRunnerStore
//	to see what would be refused, first            Options.Mode: uprung.Shadow
//
// # Behavior
//
// The bound. Over any stretch of time d the fleet admits at most burst + rate*d events of
// a key, by the clock of Redis; with leases burst + rate*(d + LeaseAge), since what was
// bought may be used for so long. Costs are rounded up to units of 125 ns, so that the
// rate is never above the one asked for, and below it by a share of less than rate/8e6
// (rate in events per second) if events are taken one by one.
//
// When Redis is away. A call is given up after the Timeout of the store, and never
// repeated, since it may have been counted. Three failures in a row open a breaker: from then
// on nobody waits, and Down says what is decided. By default each process
// then has a bucket of its own, of the limit divided by Replicas, which has been charged for
// what it was granted before. Every 0.1 to 0.5 s a probe finds out whether Redis is back, and
// nobody waits for that either. The same is done with what comes when 2048 decisions of the
// process have no answer yet. At both changes a key may be granted up to one more burst
// than the bound says. In a cluster each sixteenth of the slots fails and returns alone.
//
// What is lost. Redis without persistence forgets all when it restarts, and every key has
// its whole burst; so does one that evicts keys under an allkeys policy of maxmemory.
// A failover may forget the last second. A replica that does not take writes counts as away.
//
// Refusals from memory. A key that is denied is denied again without asking, until RetryAfter
// or DenyAge is over. It is exact for every cost, since the bucket of a key fills no sooner than
// it said; only what another process gives back is noticed later.
//
// Memory. A process takes 32 bytes for each key of Capacity, and some 300 more for one that is
// denied or bought ahead for at the moment. Keys of more than 256 bytes are always asked for.
//
// The keys in Redis are prefix{key}:name, with the key as it is if it is short and has no
// braces, and else its hash. Each is one string of 17 bytes, and expires when its
// bucket is full. To keep addresses and tokens out of Redis, use [key.Hashed].
//
// It needs Redis 6.2 or later, or Valkey; the permissions EVALSHA, EVAL, TIME, GET, SET, DEL
// and EXISTS on its keys. The process must not be paused between two instants of its clock;
// a clock of Redis that is set back makes keys wait for one empty bucket at the most.
//
// # References
//
//   - ITU-T Recommendation I.371, annex A: the generic cell rate algorithm.
//   - Redis: EVAL, Scripting with Lua; Redis Cluster specification, Hash tags.
package redislimit
