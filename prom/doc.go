// Package prom exports the figures of this library's parts to Prometheus.
//
// Every core (a limiter, a cache, a pool of backends) is an [uprung.Source]; a
// [Collector] turns any number of them into a [prometheus.Collector], and
// [Handler] into a page to scrape. Nothing is measured here and nothing is
// registered globally.
//
// Do not import it into a library: it brings the Prometheus client into every
// program that links it, which is why the cores do not.
//
// # The shortest path
//
//	metrics, err := prom.Handler(limiter, cache, pool)
//	if err != nil {
//		log.Fatal(err)
//	}
//	mux.Handle("GET /metrics", metrics)
//
// A program that has a registry already registers a collector with it:
//
//	collector, err := prom.NewCollector(limiter, cache, pool)
//	if err != nil {
//		log.Fatal(err)
//	}
//	registry.MustRegister(collector)
//
// # Behavior
//
// Sources are read at each scrape, one after the other, and not in between. The
// number of series is a constant of the program: labels hold names that the
// programmer gave, never keys, addresses or paths.
//
// # References
//
//   - Prometheus documentation, "Metric and label naming" and "Writing
//     client libraries".
package prom
