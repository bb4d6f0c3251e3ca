// Package ratelimit decides how often each of many keys (clients, tenants, API
// keys, destinations) may do something, and refuses what is too much with the
// right HTTP answer.
//
// A [Limiter] holds one token bucket per key, exact to the nanosecond, in a table
// of fixed size: a decision about a known key takes no lock and no allocation,
// and a flood of new keys neither grows the table nor frees an abuser.
//
// Do not use it where one worker paces itself, without keys: that is what
// golang.org/x/time/rate is for, and [Limit.Limiter] is the way there. Do not
// use it to bound how many requests are in progress at once: a limit of events
// per second does not know how long each takes.
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
// The state is lost when the process ends: every key then has its whole burst.
//
// # References
//
//   - ITU-T Recommendation I.371, annex A: the generic cell rate algorithm.
//   - RFC 6585, section 4: 429 Too Many Requests. RFC 9110, section 10.2.3:
//     Retry-After. RFC 9457: problem documents.
//   - draft-ietf-httpapi-ratelimit-headers-11: RateLimit-Policy and RateLimit.
package ratelimit
