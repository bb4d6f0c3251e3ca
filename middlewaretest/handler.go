package middlewaretest

// handlerChecks lists the promises of a middleware for handlers, in the order of
// the table in the package comment.
func handlerChecks() []check {
	return []check{
		{name: "request", source: "http.Request", protocols: everyProtocol(), run: requestPasses},
		{name: "request-body", source: "http.Request.Body", protocols: everyProtocol(), run: requestBody},
		{name: "one-status", source: "RFC 9110, 15", protocols: everyProtocol(), run: oneStatus},
		{name: "implicit-200", source: "http.ResponseWriter", protocols: everyProtocol(), run: implicit200},
		{name: "status", source: "RFC 9110, 15", protocols: everyProtocol(), run: statusPasses},
		{name: "header", source: "RFC 9110, 5.3", protocols: everyProtocol(), run: headerPasses},
		{name: "body", source: "RFC 9110, 8.6", protocols: everyProtocol(), run: bodyPasses},
		{name: "head", source: "RFC 9110, 9.3.2", protocols: everyProtocol(), run: headPasses},
		{name: "trailers", source: "RFC 9110, 6.5", protocols: everyProtocol(), run: trailersPass},
		{name: "informational", source: "RFC 9110, 15.2; RFC 8297", protocols: everyProtocol(), run: informationalPasses},
		{name: "expect-continue", source: "RFC 9110, 10.1.1", protocols: everyProtocol(), run: expectContinue},
		{name: "flush", source: "http.Flusher, optional", protocols: everyProtocol(), run: flushPasses},
		{name: "sse", source: "WHATWG HTML, 9.2", protocols: everyProtocol(), run: serverSentEvents},
		{name: "download", source: "http.ResponseWriter", protocols: everyProtocol(), run: downloadStreams},
		{name: "upload", source: "http.Request.Body", protocols: everyProtocol(), run: uploadStreams},
		{name: "full-duplex", source: "http.ResponseController, optional", protocols: everyProtocol(), run: fullDuplex},
		{name: "deadlines", source: "http.ResponseController, optional", protocols: everyProtocol(), run: deadlinesReach},
		{name: "reader-from", source: "io.ReaderFrom, optional", protocols: onlyHTTP1(), run: readerFrom},
		{name: "hijack", source: "http.Hijacker, optional", protocols: everyProtocol(), run: hijackPasses},
		{name: "websocket", source: "RFC 6455, 4.2.2", protocols: onlyHTTP1(), run: webSocket},
		{name: "panic", source: "http.Handler", protocols: everyProtocol(), run: panicPasses},
		{name: "abort", source: "http.ErrAbortHandler", protocols: everyProtocol(), run: abortPasses},
		{name: "cancel", source: "http.Request.Context", protocols: everyProtocol(), run: cancelReachesHandler},
		{name: "concurrent", source: "this package", protocols: everyProtocol(), run: concurrentRequests},
		{name: "goroutines", source: "this package", protocols: everyProtocol(), run: handlerGoroutines},
		{name: "timeout", source: "http.TimeoutHandler", protocols: everyProtocol(), needs: aTimeout, run: lateWrites},
		{name: "refusal-status", source: "RFC 9110, 15.5, 15.6", protocols: everyProtocol(), needs: aRefusal, run: refusalStatus},
		{name: "refusal-retry-after", source: "RFC 9110, 10.2.3; RFC 6585, 4, optional", protocols: everyProtocol(), needs: aRefusal, run: refusalRetryAfter},
		{name: "refusal-problem", source: "RFC 9457, 3, optional", protocols: everyProtocol(), needs: aRefusal, run: refusalProblem},
		{name: "refusal-head", source: "RFC 9110, 9.3.2", protocols: everyProtocol(), needs: aRefusal, run: refusalHead},
		{name: "refusal-continue", source: "RFC 9110, 10.1.1, optional", protocols: everyProtocol(), needs: aRefusal, run: refusalContinue},
	}
}
