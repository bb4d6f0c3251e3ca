// Package deadline bounds the whole of a request, in handlers and in clients, and
// tells those that are called how much time is left, so that nobody works on an answer
// for which nobody waits any more.
//
// A [Deadline] gives a handler a context that ends, answers 504 when the handler does
// not, and refuses work whose time is over before it begins. In a client it bounds the
// whole exchange, the body included, and sends the remaining time along. Responses
// stream through both: nothing is buffered.
//
// Do not use it for streams that are meant to last, such as server-sent events: exempt
// them with Options.Skip. Do not use it for the timeout of one attempt among several:
// that belongs inside the retries, and this outside. To bound only the time until the
// header of a response comes, set ResponseHeaderTimeout of the [http.Transport].
//
// # The shortest path
//
// A second for each request, in a server:
//
//	limit, err := deadline.New(time.Second, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(http.ListenAndServe(":8080", limit.Middleware(mux)))
//
// Two seconds for each call, all attempts together, in a client:
//
//	limit, err := deadline.New(2*time.Second, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	client := &http.Client{Transport: limit.Transport(retrier.Transport(balancer.Transport(nil)))}
//
// A server that gives its callers no more time than they say they have:
//
//	limit, err := deadline.New(time.Second, &deadline.Options{
//		Trust: func(r *http.Request) bool { return r.TLS != nil && len(r.TLS.VerifiedChains) > 0 },
//	})
//
// # Choosing
//
//	you want                                      use
//	to bound how long a handler has               Middleware
//	to bound calls, and pass on what is left      Transport
//	to heed what callers pass on                  Options.Trust
//	to refuse what cannot be done in time         Options.MinRemaining
//	the time that is left, in a handler           Remaining
//	jobs from a queue, dropped when expired       Begin
//	gRPC, both sides                              package grpcdeadline
//	streams that are meant to last                Options.Skip
//	to see what would be cut off, first           Options.Mode: uprung.Shadow
//
// # Behavior
//
// A deadline is the earliest of three: the limit, the deadline that the context has
// already, and what a trusted caller says in the header. Nothing makes it later than
// the limit. Expired is what has no time left when it comes, or less than
// Options.MinRemaining: it is refused with a [*uprung.Rejection] and, by Middleware,
// with 504, and the handler is not called.
//
// Handlers. The handler runs on a goroutine of its own, and its context ends at the
// deadline. What comes next depends on how far it is:
//
//	no header was sent          504 with a problem document; the handler's later
//	                            writes fail with http.ErrHandlerTimeout
//	the response has begun      writes fail, and the connection is aborted, so that
//	                            the client sees a truncated response and no success
//	the connection is hijacked  nothing: it is the handler's
//
// The same holds for a handler that returns at its deadline or after it, as one does that
// heeds its context: an empty response would look like a good one, and a truncated one
// complete. An answer of the handler's own has to begin before.
//
// Then Middleware returns. A handler that ignores its context goes on without effect:
// its writes are dropped and the body of its request cannot be read. [Stats].Late
// counts such handlers, and limits of concurrency that are further out do not. A
// connection of HTTP/1 whose request was not read to its end is closed after the 504.
//
// The context of a hijacked connection, such as a WebSocket, ends at the deadline like
// any other; where it is used to read from the connection, exempt the route with
// Options.Skip, or use [context.WithoutCancel].
//
// When a client leaves, the context ends at once; Middleware waits for the handler, as
// net/http does, for as long as the deadline allows.
//
// Panics of the handler, [runtime.Goexit] too, go on where Middleware was called, with
// the same value. Their stack trace shows that goroutine, and not the handler's. A panic
// after the deadline has nowhere to go: it is dropped, and counted.
//
// Clients. The context of an exchange ends at the deadline, or once the body of the
// response has been read to its end or closed. The header goes out with what is left,
// less Options.Margin, in whole milliseconds, and replaces one that is there. If that
// is nothing, the request is refused. An upgraded connection (101) is not cut off.
//
// Trust. Options.Trust says whose header is heeded, and by default nobody's is: who may
// set a deadline can have work cut off that goes on, and so can fill figures with 504s,
// open circuit breakers, and get round limits of concurrency. A deadline of one's own
// services, or of callers with a certificate, makes none of these worse. Since it is
// relative, clocks need not agree; the time that a request spends on the network and in
// queues before it is read is not counted. A field that is malformed, or there twice,
// is ignored and counted.
//
// A Deadline needs no memory for each client and starts no goroutine but that of a
// handler, which ends with it.
//
// # References
//
//   - gRPC over HTTP2, grpc-timeout: a relative deadline, for the same reasons.
//   - Beyer, Jones, Petoff, Murphy (ed.): Site Reliability Engineering, chapter 22,
//     "Latency and Deadlines". O'Reilly, 2016.
//   - Connect protocol, Connect-Timeout-Ms, and Envoy,
//     X-Envoy-Expected-Rq-Timeout-Ms: fields of the same form, of which
//     Options.Header can name one.
//   - RFC 9110, section 15.6.5: 504 Gateway Timeout. RFC 9457: problem documents.
package deadline
