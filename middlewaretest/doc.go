// Package middlewaretest is a conformance kit for HTTP middleware: it puts the
// promises of net/http and of the RFCs to any func(http.Handler) http.Handler
// and to any func(http.RoundTripper) http.RoundTripper, over real connections on
// the loopback address, and names those that are broken.
//
// A middleware stands between two parties that rely on far more than a status
// and a body: that an event is seen before the stream ends, that a 103 passes,
// that a connection can be taken over, that a panic arrives as it was thrown.
// What breaks there breaks unseen, in somebody else's feature.
//
// Do not use it to test what a middleware is for, such as that the right
// requests are refused; that is its own test's work. Do not use it on a
// middleware whose purpose is to change responses, such as a compressor, without
// naming in Skip what it changes.
//
// # The shortest path
//
//	func TestLimiterKeepsThePromises(t *testing.T) {
//		one := &ratelimit.Options{Key: func(*http.Request) (string, bool) { return "one", true }}
//		wide := uprung.Must(ratelimit.New(ratelimit.PerSecond(1e6), one))
//		spent := uprung.Must(ratelimit.New(ratelimit.PerHour(1), one))
//		spent.Allow("one")
//		middlewaretest.Run(t, wide.Middleware, &middlewaretest.Options{
//			Refusing: spent.Middleware,
//		})
//	}
//
// [Run] makes a subtest of each check, so that go test -run TestX/sse repeats
// one. [Check] returns the failures instead of reporting them.
//
// # Checks of a middleware
//
// The names are part of the API: they are subtests, keys of Skip, and the value
// of Failure.Check.
//
//	request              method, target, header, Host, addresses, TLS and context  http.Request
//	request-body         read to EOF with its trailers; Close closes it            http.Request.Body
//	one-status           no second WriteHeader; nothing in the server's log        RFC 9110, 15
//	implicit-200         a handler that says no status has status 200              http.ResponseWriter
//	status               2xx to 5xx unaltered; no body where none is allowed       RFC 9110, 15
//	header               every value, in order, as it was at WriteHeader           RFC 9110, 5.3
//	body                 every byte; Write counts right; Content-Length stays      RFC 9110, 8.6
//	head                 stays HEAD, has no body, keeps Content-Length             RFC 9110, 9.3.2
//	trailers             declared, and undeclared with http.TrailerPrefix          RFC 9110, 6.5
//	informational        103 is at the client before the final response            RFC 9110, 15.2; RFC 8297
//	expect-continue      the body is asked for if and only if it is read           RFC 9110, 10.1.1
//	flush                Flusher by assertion; what is flushed arrives             http.Flusher, optional
//	sse                  each event arrives before the handler ends                WHATWG HTML, 9.2
//	download             a large response is not held back                         http.ResponseWriter
//	upload               a large request body is not read ahead                    http.Request.Body
//	full-duplex          reading and writing in turns                              http.ResponseController, optional
//	deadlines            read and write deadlines reach the connection             http.ResponseController, optional
//	reader-from          ReaderFrom by assertion (HTTP/1.1)                        io.ReaderFrom, optional
//	hijack               Hijacker by assertion; an error over HTTP/2               http.Hijacker, optional
//	websocket            an upgrade, and bytes both ways (HTTP/1.1)                RFC 6455, 4.2.2
//	panic                goes on with the same value; the response is aborted      http.Handler
//	abort                ErrAbortHandler goes on, and nothing is logged            http.ErrAbortHandler
//	cancel               the context ends when the client leaves                   http.Request.Context
//	concurrent           8 requests are in the handler at one time                 this package
//	goroutines           none is left when the servers are closed                  this package
//
// With Options.Timeout:
//
//	timeout              one status, no late bytes, a connection in order          http.TimeoutHandler
//
// With Options.Refusing:
//
//	refusal-status       one 4xx or 5xx; the handler is not called                 RFC 9110, 15.5, 15.6
//	refusal-retry-after  429 and 503 say when: whole seconds, at least 1           RFC 9110, 10.2.3; RFC 6585, 4, optional
//	refusal-problem      application/problem+json with the same status             RFC 9457, 3, optional
//	refusal-head         HEAD is refused as GET is, without a body                 RFC 9110, 9.3.2
//	refusal-continue     the body of a refused request is not asked for            RFC 9110, 10.1.1, optional
//
// # Checks of a transport
//
//	request              method, target, header, Host and body arrive              http.Request
//	request-unchanged    the caller's request is as it was                         http.RoundTripper
//	request-body-closed  after success, after an error, when cancelled before      http.RoundTripper
//	context              values and deadline are at the base                       http.Request.Context
//	response             status, header, length and body unaltered                 RFC 9110, 5.3, 15
//	response-body-closed closing it closes every body of the base                  http.Response.Body
//	one-result           a response or an error, never both or neither             http.RoundTripper
//	error                the base's error is found by errors.Is                    errors.Is
//	head                 stays HEAD, keeps Content-Length                          RFC 9110, 9.3.2
//	trailers             are there when the body has ended                         RFC 9110, 6.5
//	informational        103 reaches the request's httptrace                       RFC 9110, 15.2
//	stream-response      header and parts arrive when they are sent                http.Response.Body
//	stream-request       a large request body is not read ahead                    http.Request.Body
//	upgrade              the body of a 101 is an io.ReadWriteCloser                http.Response.Body
//	cancel               ends the call, the body, and the server's work            http.Request.Context
//	concurrent           8 requests are at the server at one time                  this package
//	goroutines           none is left when connections are closed                  this package
//
// With TransportOptions.Refusing:
//
//	refusal-error        an error, no response; the base is not called             http.RoundTripper
//	refusal-body-closed  the body of a refused request is closed                   http.RoundTripper
//
// # Stricter than the standards
//
// A check whose source is "this package", or ends in "optional", is this kit's
// own rule and no requirement: a middleware that fails it conforms, and Skip is
// for naming it with the reason.
//
//	flush, hijack        net/http lets a wrapper do without; streams and WebSockets break then
//	full-duplex          net/http lets a wrapper do without; what reads and writes in turns hangs then
//	deadlines            the same; one long response then needs longer deadlines for all
//	reader-from          an optimisation: without it a file is copied through user space
//	concurrent           a middleware may let fewer than 8 requests pass at one time
//	goroutines           a middleware may keep goroutines that a request has started
//	refusal-retry-after  429 and 503 may do without; a date and 0 are allowed, and help less
//	refusal-problem      a refusal may have any body; RFC 9457 is one that programs can read
//	refusal-continue     a body may be asked for and then refused, which wastes it
//
// # Behavior
//
// One plain GET comes before all checks. If it does not reach the handler, most
// often because Options.Request adds no credentials, that is the one failure,
// under the name request whether skipped or not, and only the refusal-* checks
// run besides. The same holds for a wrapper that does not pass a request on. In
// every later check, too, a request that is answered or fails without a call of
// the handler is a failure: nothing passes because nothing was tried.
//
// Each check runs over HTTP/1.1, HTTP/2 with TLS and HTTP/2 without (h2c) at the
// same time, unless the table names one; the contract of a round tripper is
// checked on a base without a network. Each starts servers on 127.0.0.1 and
// closes them. A check that passes waits for no clock, save timeout, which takes
// Options.Timeout.
//
// The middleware is applied several times in each check, to handlers of the
// kit's own. Over a whole run it sees fewer than 500 requests, all of which it
// has to let pass, up to 64 at one time; every URL is another one, so that
// nothing can be answered from a cache. Among the answers are a few dozen 5xx: a
// breaker under test needs a threshold above that.
//
// The check goroutines marks what it starts with a profiler label, which
// goroutines inherit. It is not disturbed by others in the process; what a
// middleware has started before, in its constructor, is not counted, and what it
// starts at a request and keeps for later is a failure.
//
// All functions may be called concurrently. Failures of a middleware that races
// are the race detector's to find: run with -race.
//
// # References
//
// RFC 9110 (HTTP semantics), RFC 8297 (early hints), RFC 6455 (WebSocket),
// RFC 6585 (429), RFC 9457 (problem details), the documentation of net/http, and
// the section on server-sent events of the WHATWG HTML standard. The form
// follows testing/slogtest.
package middlewaretest
