// Package httpx is the HTTP ground that the middlewares of this library share:
// the one [http.ResponseWriter] that observes a response, and the one writer of
// refusals. A wrapper of a response writer that hides Flush, hides Hijack or
// mistakes a 103 for the answer breaks programs in ways that show only in
// production, so there is one of them, tested against net/http itself.
//
// A middleware that only looks at the request, or only sets headers before it
// calls the next handler, needs neither.
//
// # The shortest path
//
//	func (b *Breaker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
//		if !b.allow() {
//			b.open.Write(w, r, b.wait()) // b.open is a *httpx.Problem
//			return
//		}
//		httpx.Serve(b.next, w, r, nil, func(resp httpx.Response) {
//			b.record(resp.Status, resp.Aborted)
//		})
//	}
//
// # Behavior
//
// An observed response costs one allocation, never pooled: a goroutine that
// outlives its handler and writes late reaches the writer of its own request and
// no other. Nothing is buffered, reordered or delayed.
//
// Observations nest. Of two middlewares that both observe, the inner one sees
// the headers first and the end first.
//
// # References
//
// RFC 9110 (HTTP semantics: informational responses in section 15.2,
// Retry-After in section 10.2.3), RFC 9457 (problem details).
package httpx
