// Package ratelimit decides how often each of many keys (clients, tenants, API
// keys, destinations) may do something, and refuses what is too much with the
// right HTTP answer.
//
// A [Limiter] holds one token bucket per key, exact to the nanosecond, in a table
// of fixed size: a decision about a known key takes no lock and no allocation,
// and a flood of new keys neither grows the table nor frees an abuser.
//
// Do not use it where one worker paces itself, without keys: that is what
// golang.org/x/time/rate is for, and [Limit.Limiter] is the way there.
//
// A [Concurrency] bounds how many requests are in progress at once, by a number that
// is fixed or that finds itself from the time that requests take. It is what keeps a
// server up under any load; a limit of events per second does not know how long each
// takes, and a limit in progress does not know whose turn it is. Use both.
//
// # The shortest path
//
// One hundred requests a second for each client address:
//
//	limiter, err := ratelimit.New(ratelimit.PerSecond(100), &ratelimit.Options{
//		Name: "per-client",
//		Key:  key.Direct(nil), // see package key for servers behind proxies
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(http.ListenAndServe(":8080", limiter.Middleware(mux)))
//
// Anywhere else, ask it directly:
//
//	if !limiter.Allow(tenant) {
//		return errTooBusy
//	}
//
// As many requests at once as the server does best, and the others refused with 503
// before any work is done for them:
//
//	limit, err := ratelimit.NewConcurrency(ratelimit.Adaptive(), nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(http.ListenAndServe(":8080", limit.Middleware(mux)))
//
// # Choosing
//
//	you want                                      use
//	yes or no, now                                Allow, AllowN
//	the same, and where the key stands            Take
//	as many as there are                          TakeUpTo
//	to wait for one's turn                        Wait
//	to look without taking                        Peek
//	to give back what was not used                Refund
//	to decide at an instant of one's own          TakeAt
//	a limit per tenant or plan                    Options.LimitFor
//	a quota of n in any hour or day               Options.Algorithm: SlidingWindow
//	several limits at once, all or nothing        All
//	to stop guessing, not asking                  Options.Count: Failures
//	to pace requests that go out                  Transport
//	requests of different weight                  Options.Cost
//	to see what would be refused, first           Options.Mode: uprung.Shadow
//	a server that overload does not bring down    NewConcurrency: Adaptive
//	so many at once, and no more                  NewConcurrency: AtMost
//	to shed what matters least, first             ConcurrencyOptions.Priority
//	nobody to take what is others' part           ConcurrencyOptions.Tenant
//	to absorb short bursts                        ConcurrencyOptions.Queue
//	a signal for scaling out                      Concurrency.Saturation
//	one bucket, no keys, callers that wait        Limit.Limiter (x/time/rate)
//
// # Behavior
//
// The algorithm is GCRA, which grants what a token bucket grants: over any
// stretch of time d, at most burst + rate*d events. An interval that starts with a
// full bucket grants exactly that. Time is counted in units of 1/12 ns, and the
// cost of an event is rounded up to whole units: the rate enforced is never above
// the one asked for, and below it by a share of less than rate/12e9 (rate in
// events per second), which is one part in 12,000 at a million per second and
// nothing at all where the cost is whole, as for 100 per second. Above 1.2 million
// per second, where quotas are of bytes, n events taken at once are rounded up
// together and not each.
//
// Memory is 24 bytes for each key of Capacity, allocated once. Keys are kept as
// 64-bit hashes under a seed that is secret to the process; two keys with one hash
// would share a bucket, which a pair of a million keys does once in 30 million
// runs. When a new key finds no room, the key with the most left to spend gives
// way and begins again with its whole burst, which is nearly what it had; the
// bucket of an abuser is the last to go. [Stats].Evicted counts such keys.
//
// A denied decision takes nothing. A cost above the burst can never be granted
// and is an error ([ErrExceedsBurst]), without a time to retry after. The zero
// [Limit] denies all.
//
// The limits of one Limiter hold in one process. N replicas behind a balancer
// that spreads a client's requests grant up to N times as much.
//
// An adaptive [Concurrency] compares the time of requests with their base, the time
// that they take if none waits for another, and rests where the first is two and a half
// times the second: then all workers have work at hand, and hardly more. Under light
// load the base is followed; in an overload the limit is lowered for about half a
// second every half minute to look at it. It grows only when it is reached and shrinks
// only while more than half of it is in use. Its queue is for bursts: one that has not
// been empty for QueueWait admits only who has waited for less than a twentieth of it.
//
// The time of a request ends with its headers, its place with its response, so that
// slow readers take places. Upgraded connections and streams of events have places of
// their own. On a server, what a handler itself refuses with 429 or 503 says nothing; a
// client's limit is lowered by it.
//
// The state is lost when the process ends: every key then has its whole burst.
//
// # References
//
//   - Little, A proof for the queuing formula L = λW, Operations Research 9(3), 1961.
//   - Netflix, Performance under load, 2018 (the gradient of concurrency-limits).
//   - Nichols, Jacobson, Controlling queue delay, ACM Queue 10(5), 2012; Maurer, Fail at
//     scale, ACM Queue 13(8), 2015 (the rule for queues of servers).
//   - ITU-T Recommendation I.371, annex A: the generic cell rate algorithm.
//   - RFC 6585, section 4: 429 Too Many Requests. RFC 9110, section 10.2.3:
//     Retry-After. RFC 9457: problem documents.
//   - draft-ietf-httpapi-ratelimit-headers-11: RateLimit-Policy and RateLimit.
package ratelimit
