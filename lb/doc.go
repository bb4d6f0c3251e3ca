// Package lb spreads HTTP requests over the endpoints of a service, through an
// [http.RoundTripper] or a reverse proxy, so that one that is slow, stalled, failing,
// dead or new costs users almost nothing.
//
// A [Balancer] knows the endpoints from a [Resolver], chooses one for each request by
// a policy of package pick, and watches how each request turns out. That is enough
// for nearly all: no probes and no proxy beside the program are needed.
//
// Do not use it where something in between balances already, such as a service mesh
// or a cloud load balancer before each service: two know less than one. It does not
// repeat requests; that is for a layer outside of it, such as package retry.
//
// # The shortest path
//
//	balancer, err := lb.New(lb.Addrs("10.0.0.1:8080", "10.0.0.2:8080"), nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	client := &http.Client{Transport: balancer.Transport(nil)}
//	resp, err := client.Get("http://orders/42") // the URL names the service
//
// And a reverse proxy:
//
//	proxy, err := balancer.Proxy(nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(http.ListenAndServe(":8080", proxy))
//
// # Choosing
//
//	you have                                     use
//	addresses that do not change                 Addrs, Static
//	a name with many addresses                   NewDNS, and Run
//	SRV records                                  NewSRV, and Run
//	a registry of your own                       ResolverFunc, and Run
//	many clients of many endpoints               NewSubset
//	a health check that endpoints answer         Options.Probe, and Run
//	requests of one key that belong together     ByKey
//	sessions that stay where they began          ProxyOptions.Affinity
//	retries in a reverse proxy                   ProxyOptions.Wrap
//	several zones or regions                     Options.Zone
//	endpoints for when others fail               Endpoint.Priority
//	another policy                               package pick
//
// # Behavior
//
// The default policy is [pick.AgeEWMA]. It avoids what is slow or has stalled, without
// having been told, and sends nearly nothing to what fails.
//
// Requests end when their body has been read or closed, and not before: what is cut
// off is a failure of the endpoint. How long a body takes says nothing about one, in
// either direction, so that uploads, streams and upgraded connections count as in
// progress and change no score. A body that a client sends wrongly or too slowly is no
// failure of anybody.
//
// An endpoint that fails five times in a row, or clearly more often than the others,
// is ejected: nothing is sent to it for 3 seconds, and longer the next time, but a
// tenth of the endpoints at most, or one, are out at a time. One that is new or comes
// back gets a tenth of its share at first, and all of it after 10 seconds. The keys of
// [ByKey] move to it one by one meanwhile. A level or a zone that comes back as a whole
// gets a tenth of its capacity too, while others can serve. If fewer than half of the
// endpoints of a level are usable and no other level can serve, all are picked from.
// [Outlier] and [Options] have the numbers.
//
// What the resolver finds replaces what was known; those that stay keep what is known
// of them. An error of the resolver, or an empty answer, changes nothing. An endpoint
// that is gone finishes the requests that it has, and gets no other.
//
// Without Run, endpoints are resolved once, by the first request, and are not probed;
// all else is done along with requests. No goroutine is left behind.
//
// Memory is bounded by the number of endpoints.
//
// # References
//
//   - Mitzenmacher: The Power of Two Choices in Randomized Load Balancing. IEEE
//     Transactions on Parallel and Distributed Systems 12(10), 2001.
//   - Beyer, Jones, Petoff, Murphy (ed.): Site Reliability Engineering, chapters 20 and
//     21. O'Reilly, 2016.
//   - The documentation of the Envoy proxy: outlier detection, panic threshold,
//     priority levels.
//   - RFC 2782: DNS SRV. RFC 7239: Forwarded. RFC 9457: problem documents.
package lb
