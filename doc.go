// Package uprung is the shared vocabulary of the uprung scaling library: a
// ladder of techniques from one server to a billion users, each in a package of
// its own, each adopted by wrapping an [http.Handler], an [http.RoundTripper], a
// gRPC server or client, or a database pool.
//
// A program imports the packages of the techniques it wants and, from here, the
// few types on which they agree: [Outcome] classifies results, [Rejection] is
// the error of every local refusal, [Mode] lets a policy be watched before it is
// enforced, [Layer] describes a wrapper so that a chain of them can be read
// back, and [Metric] and [Source] carry figures to any exporter. Nothing here
// starts a goroutine, keeps global state or has a dependency beyond the standard
// library.
//
// # The shortest path
//
// Limit what one client may ask of a handler:
//
//	limiter, err := ratelimit.New(ratelimit.PerSecond(100), &ratelimit.Options{
//		Key: key.Direct(nil), // the address of the socket's peer
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	log.Fatal(http.ListenAndServe(":8080", limiter.Middleware(mux)))
//
// # The ladder
//
// Each tier of growth has its techniques. None is claimed before it works.
//
//	users      technique                            package
//	0-1K       load balancing                       lb
//	           caching                              cache, cache/httpcache
//	           database access                      replicate, shard
//	1K-10K     horizontal scaling, discovery        lb
//	           sharding, partitioning               shard
//	           replication                          replicate
//	           metrics                              Metric, Source; prom
//	10K-100K   rate limiting, overload              ratelimit
//	           identifying who asks                 key
//	           consistent hashing                   shard
//	           health checks, autoscaling           health, lb
//	           content delivery                     cache/httpcache
//	100K-1M    locality, many regions               lb, replicate
//	           between services                     retry, deadline, breaker; client: all in one
//	           fault injection                      chaos
//	1M-1B      live settings, gradual roll-out      Mode
//
// # Order
//
// A chain is written in the order in which a request meets it: the first
// middleware given to [Chain] is the outermost. The middlewares of this library
// say what they are through [Describer]. [Layers] reads the whole chain back from
// its outermost handler, [Explain] prints it with every effective setting, and
// [Vet] names what stands in the wrong place; put that into a test:
//
//	if err := uprung.Vet(handler).Err(); err != nil {
//		t.Error(err)
//	}
//
// # Stability
//
// Before v1, minor versions may change exported names; CHANGELOG.md says old, new
// and how to adapt. Structs of this library are to be written with field names:
// fields may be added.
package uprung
