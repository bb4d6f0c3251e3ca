// Package client is the recommended stack of a client of HTTP services, in one line: a
// transport that finds a service's endpoints, sends each request to the one that answers
// first, repeats and hedges what failed or is slow elsewhere, leaves broken endpoints
// alone, and sends an overloaded service less.
//
// It is composition and nothing else: each part is a package of its own, with all its
// settings in [Options]. Build your own stack of them where this one does not fit, and
// let [uprung.VetTransport] check the order.
//
// # The shortest path
//
//	addresses, err := lb.NewDNS("orders.internal:8080", nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	transport, err := client.NewTransport(addresses, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	go transport.Run(ctx) // resolves again and again; without it, what was found first is used
//	orders := &http.Client{Transport: transport}
//	resp, err := orders.Get("http://orders/42")
//
// # The stack
//
// From the caller to the wire, with what each part is set to unless Options say
// otherwise:
//
//	deadline         10s for a request with all its attempts, passed on in a header
//	retry            3 attempts, each up to 2s until its headers, in a budget of a tenth of the
//	                 requests; after the 95th percentile of response times a hedge
//	balance          age-EWMA over the endpoints, outliers ejected, slow start
//	breaker          one for each endpoint: opens when half of 20 requests or more failed in 10s,
//	                 for 1s and up to 30s
//	throttle         one for the service: refuses here what it would refuse, up to nine tenths
//	limit            at most 1000 requests in flight
//	connections      a pool for each endpoint
//
// An endpoint whose breaker is open is not picked, so that no attempt is spent on it. What
// is refused by one of the parts is refused by a [*uprung.Rejection], which none of the
// others takes for a failure.
//
// # Behavior
//
// A request that can be repeated is one of a safe method or with an Idempotency-Key: see
// package retry. The response is that of the last attempt, whatever its status.
//
// Everything is in memory, nothing is shared between transports, and no goroutine is
// started but by Run and, for as long as a request, by a hedge.
package client
