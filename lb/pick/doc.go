// Package pick chooses one of several endpoints for each request: the policies of
// load balancing alone, without connections, discovery or health. Package lb puts
// them to work for HTTP.
//
// A [Policy] makes a [Picker] for a set of endpoints. A picker is asked for an
// endpoint, told when it has answered, and told when the request is over. When the
// set changes, the policy makes another picker, which takes over what was known.
//
// Use it where something other than an HTTP request is to be spread: queries over
// replicas, calls of a protocol of one's own. For HTTP, use package lb.
//
// # The shortest path
//
//	picker, err := pick.AgeEWMA{}.Picker([]pick.Endpoint{{ID: "a"}, {ID: "b"}}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	origin := time.Now()
//
//	token, ok := picker.Pick(pick.Request{Now: time.Since(origin), Random: rand.Uint64()})
//	if !ok {
//		return errNoEndpoint
//	}
//	err = ask(endpoints[token.Endpoint])
//	picker.Done(token, time.Since(origin), outcomeOf(err))
//
// # Choosing
//
//	you have                                              use
//	requests over a network                               AgeEWMA
//	many endpoints that are equal, cheapest               PowerOfTwo
//	few endpoints, long connections                       LeastRequest
//	equal requests and endpoints, or shares to keep       RoundRobin
//	endpoints that keep something for a key               Hashed
//
// The response times that a client sees depend on the choice more than on anything
// else. Of a hundred backends, a fifth of them three times slower and one stalling
// for 2 of every 10 seconds, under 85 % load from a hundred clients, the 99th
// percentile in a simulation was 2 s with RoundRobin, 0.8 s with PowerOfTwo and
// 0.09 s with AgeEWMA (suite lb-sim of the benchmarks).
//
// # Behavior
//
// Pickers take no locks and start nothing, and they do not allocate, except Hashed
// where the endpoint of a key is down. They keep two lines of the processor's cache
// for each endpoint.
//
// They read no clock and draw no random number: both are given, so that a decision
// follows from what was before and can be repeated. Instants are durations since an
// origin of one's choice; take one with a monotonic clock.
//
// An endpoint that is down is not picked. It keeps what is known of it, and so does
// one that a filter refuses. Where all are down there is none to pick: to go on
// nevertheless is for the caller to decide.
//
// # References
//
//   - Mitzenmacher: The Power of Two Choices in Randomized Load Balancing. IEEE
//     Transactions on Parallel and Distributed Systems 12(10), 2001.
//   - Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads. SODA
//     2018.
//   - Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators. OOPSLA 2014.
package pick
