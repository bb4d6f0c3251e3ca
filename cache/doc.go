// Package cache keeps values in memory, loads those that are missing once for all who ask,
// and can share them with other processes through a second tier.
//
// Do not use it for what must be right at every instant, such as balances, or where a value
// is asked for once: a cache then only adds a way to be wrong. For whole HTTP responses
// there is package httpcache.
//
// # The shortest path
//
//	users, err := cache.New(10_000, &cache.Options[int, User]{TTL: time.Minute})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer users.Close()
//	user, err := users.GetOrLoad(ctx, 17, func(ctx context.Context, id int) (User, error) {
//		return database.User(ctx, id)
//	})
//
// After a change, users.Invalidate(ctx, 17). What must never be served again goes by key, by
// tag ([Options].TagsOf), or all at once.
//
// # Choosing
//
// The share of requests served, in percent of the best there can be, at cache sizes of 1,
// 5 and 20 % of the keys, from the suite cache-hit of the directory benchmarks:
//
//	trace         Adaptive       S3FIFO         TinyLFU        LRU
//	web           70  87  93     70  87  93     72  86  90     68  80  90
//	database      87  94  95     87  94  95     85  90  93     88  94  95
//	zipf 0.9      84  85  88     84  85  88     83  85  89     62  73  83
//	with loops    83  84  86     83  84  64     79  81  89     47  57  51
//	with scans    86  89  95     86  89  95     84  89  97     73  69  93
//
//	you want                                              use
//	a cache                                               Adaptive, the default
//	the last nanosecond of a hit                          S3FIFO
//	a small one, for loops or scans over its keys         TinyLFU
//	what others call a cache                              LRU
//
// # Behavior
//
// A value is fresh from when it was loaded or set until its TTL, shortened by the jitter, is
// over; stale from then until [Options].StaleIfError is over as well; and then gone. It is
// void once it was invalidated. Get returns fresh values only; GetOrLoad returns stale
// ones if loading fails or takes long, and the options say so. Nothing void is ever returned
// to who asked after it was invalidated.
//
// Loads: of all who ask for a key at one time, one has it loaded and the others wait. Each
// waits by its own context. The load does not end with the one who began it, but with the
// last who waits, or after [Options].LoadTimeout. What was invalidated or set meanwhile is
// not kept.
//
// Memory: there are never more entries than the capacity, nor more bytes than
// [Options].MaxBytes, at any instant; keys that are known not to exist have a bound of their
// own. An entry takes about 110 bytes besides its key and value. The bound is divided
// evenly among shards of 1024 entries or more: since keys are not, a large cache holds a
// thousandth less than its capacity when it is full.
//
// Time is taken from the monotonic clock. Entries that have expired go when they are
// come across, by who makes room: there is no goroutine but those of loads in progress.
//
// Hostile keys: the hash is secret, one for each cache.
//
// # Two tiers
//
// With a [Store], a value that is not in memory is looked for there, and one that was
// loaded is put there. With a [Leaser], all processes together load a key once. With a
// [Bus], what one invalidates the others drop; without, after [Options].MemoryTTL.
//
// The store is never in the way: a call takes 50 ms at most, after five failures in a row it
// is left alone and tried once in a second, and who reads is never told of its errors.
// Invalidations that did not reach it are remembered, 1024 of them and then all at once, and
// the store is not read before they have. They are lost when the process ends.
//
// What one process loads while another invalidates it is not stored, by the lease. A
// store without leases can be left with the older value, for as long as its TTL: the time
// between two processes is then the race that it always is.
//
// InvalidateTag and InvalidateAll take the same time however many entries they are about:
// entries note random numbers under which they were stored, one for each of their tags, and
// are void once a number has changed. To read an entry with tags takes a second round trip.
//
// # References
//
//   - Yang, Zhang, Qiu, Yue, Rashmi: FIFO Queues are All You Need for Cache Eviction, SOSP 2023.
//   - Einziger, Eytan, Friedman, Manes: Adaptive Software Cache Management, Middleware 2018.
//   - Nishtala et al.: Scaling Memcache at Facebook, NSDI 2013: leases.
//   - Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB 2015.
package cache
