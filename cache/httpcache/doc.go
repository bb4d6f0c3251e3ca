// Package httpcache is a cache of HTTP responses (RFC 9111): as one line around a handler
// it makes a server answer from memory what it has answered before, and around a
// transport it makes a caching client or reverse proxy.
//
// It caches responses, with all that HTTP says of when they may be used. For values that
// your program computes or loads, use package cache.
//
// # The shortest path
//
//	c, err := httpcache.New(nil, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	http.ListenAndServe(":8080", c.Middleware(mux))
//
// From then on a handler says what may be kept, in its response:
//
//	w.Header().Set("Cache-Control", "public, max-age=60, stale-while-revalidate=30")
//	w.Header().Set("Surrogate-Key", "product-17 products")
//
// and what has changed is ended by its tag:
//
//	c.PurgeTag(ctx, "https://shop.example", "product-17")
//
// The origin is that of requests as the cache gets them: behind a proxy that ends TLS its
// scheme is http. PurgeTag returns how many of the tags any response has.
//
// # Choosing
//
//	                                          Safe (default)         RFC9111
//	Set-Cookie in a response                  not stored             stored
//	Cookie in a request                       stored if public,      stored
//	                                          s-maxage or targeted
//	nothing said of freshness                 not used               a tenth of its age, 24h at most
//	4xx and 5xx                               if they say for how    by status
//	                                          long
//	no-cache, max-age ... of clients          Middleware ignores     count
//	                                          them, Transport does not
//	Vary: Cookie; POST with Content-Location  not stored             stored
//	the origin cannot be reached              stale-if-error decides stale for 24h at most
//	X-Forwarded-Host and its kin              not passed on          passed on
//
// Both keep what RFC 9111 demands: Safe only refuses more.
//
// # Behavior
//
// Whatever the request, the key is its scheme, host, path and query, byte for byte, and
// what a response varies on. No path is cleaned, and no decision is made by its
// extension.
//
// Requests for what is being fetched wait for that fetch, and get its bytes as they come.
// Those that may not use it, since it is private or varies, go to the origin at once, and
// so do all for its key for two seconds. A fetch goes on without the client that began
// it, as long as others wait. A response that is cut off is passed on as cut off, and not
// stored as complete: under RFC9111 what has come answers requests for parts of it, and is
// completed by a request for the rest where a strong validator allows that.
//
// A purge, and what invalidates, ends also what is being fetched: it goes to those who wait
// for it, and is not stored.
//
// Validations in the background (stale-while-revalidate) are one for each response and
// Options.MaxValidations together, and each ends after Options.FetchTimeout. After one that
// has failed the response is left alone for a second. Transport has a goroutine for each
// fetch, until its body has ended. Nothing else runs in the background.
//
// What layers outside of Middleware have set in the header of a response is not stored,
// unless the handler has changed it: they set it anew for each.
//
// Memory is bounded by MemoryOptions.Budget, and for each fetch in progress by
// Options.MaxObject. Upgrades, CONNECT, and GET with a body pass by the cache. A store is of
// one process, and so are its purges.
//
// # References
//
// RFC 9110 (semantics), RFC 9111 (caching), RFC 5861 (stale-while-revalidate and
// stale-if-error), RFC 9211 (Cache-Status), RFC 9213 (targeted fields), RFC 9651
// (structured fields), RFC 9875 (cache groups).
package httpcache
