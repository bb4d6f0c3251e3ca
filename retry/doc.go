// Package retry sends again what has failed and can be sent again, so that a request
// which can succeed does, without multiplying the load of a service that fails.
//
// A [Retrier] repeats requests whose repetition is harmless, elsewhere if a balancer
// is below it, after a random pause or when the server asks to be asked again; and
// it does so within a [Budget], that bounds all retries by a tenth of the requests.
// It can also hedge: send a second request when the first takes longer than nearly
// all do.
//
// Do not retry in two layers of one call path: attempts multiply. Do not use it to
// make a write that is not idempotent succeed: give it an Idempotency-Key that the
// server honours, or do not retry it.
//
// # The shortest path
//
//	retrier, err := retry.New(nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	client := &http.Client{Transport: retrier.Transport(balancer.Transport(nil))}
//
// Anything else that can be done again:
//
//	user, err := retry.Do(ctx, retrier, func(ctx context.Context) (*User, error) {
//		return users.Find(ctx, id)
//	})
//
// # Choosing
//
//	you want                                      use
//	GET, HEAD, OPTIONS and TRACE repeated         the defaults
//	PUT and DELETE too, or single routes          Options.Idempotent
//	a POST repeated                               the header Idempotency-Key
//	to give up on an attempt that hangs           Options.AttemptTimeout
//	the slowest answers to be faster              Options.HedgeAt: 0.95
//	calls that are not HTTP                       Do
//	gRPC                                          package grpcretry
//	services that call services                   Middleware in each of them
//	to see what would be repeated, first          Options.Mode: uprung.Shadow
//
// # Behavior
//
// What is repeated. An attempt is repeated if it ended in a transport error, or with
// a 5xx other than 501 and 505, or with 429 or 503 and Retry-After; if its method is
// safe (RFC 9110, section 9.2.1) or it has an Idempotency-Key; and if it has no body
// or one that Request.GetBody returns again, as the requests of http.NewRequest with
// a bytes.Buffer, bytes.Reader or strings.Reader have. Bodies are never buffered. A
// response is judged by its headers, and once it is returned, nothing is repeated:
// what breaks off later is for the caller. If no attempt is left, the last response
// is returned as it is, and not an error.
//
// An attempt that never reached a server, because the connection was refused or the
// stream was, is harmless whatever it was for, and costs no budget: with a balancer
// below it moves on to the next endpoint at once, until all have been tried.
//
// What is refused locally, by a limit, a breaker or for want of endpoints, is not
// repeated: waiting is for who is refused.
//
// Pauses. Before the second attempt a random time of up to 100 ms, and twice as much
// for each further one, at most 2 s. Retry-After, in seconds or as a date, is waited
// for if the deadline of the context allows it, and no longer than Options.MaxWait.
//
// The budget. Each request brings a tenth of a retry, and each second a fifth; ten can
// be saved up. Without budget, what has failed is returned. Hedges come out of the
// same budget, and are at most a twentieth of the requests; while answers say that there
// is too much to do, there are none.
//
// Nested layers. From the second on, attempts carry the header Uprung-Attempt with
// their number, and a Retrier passes on what has it without repeating it, behind any
// number of proxies. A service that makes requests of its own has [Middleware] around its
// handler, or the interceptors of package grpcretry: then its requests on behalf of an
// attempt are attempts too, and when it has given up, so do its callers. Requests are
// repeated next to where they fail: three services of three attempts, the last of
// which fails, send it 1.3 for each request at one a second and 1.11 at twenty, once the
// retries that were saved up are spent, and 3 for a request that is alone. Without it, each
// adds what its budget allows to what the others do: 27 for a request that is alone.
//
// A Retrier has one budget: use one for each service that is called. It starts no
// goroutine but that of a hedge, which ends with its request.
//
// # References
//
//   - Brooker: Exponential Backoff and Jitter. AWS Architecture Blog, 2015.
//   - Beyer, Jones, Petoff, Murphy (ed.): Site Reliability Engineering, chapter 22:
//     Addressing Cascading Failures. O'Reilly, 2016.
//   - Dean, Barroso: The Tail at Scale. Communications of the ACM 56(2), 2013.
//   - RFC 9110, sections 9.2 (safe and idempotent methods) and 10.2.3 (Retry-After).
//   - draft-ietf-httpapi-idempotency-key-header.
package retry
