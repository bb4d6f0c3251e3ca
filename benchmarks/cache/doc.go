// Package cache is the benchmark suites of caches in memory: what they cost, and how many
// requests they serve.
//
// Hit ratios are measured on recorded traces, of which testdata has the licence, and on made
// ones. Where a cache is not bounded at every instant by default, it is measured in a form
// that is, under a name that says so, since room that was not granted buys hits.
package cache
