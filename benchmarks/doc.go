// Command benchmarks measures this library against its peers, in interleaved
// rounds in one process, and says for each of the library's targets whether it
// holds.
//
//	go run . -list
//	go run . -suite ratelimit
//	go run . -suite ratelimit -case 'keys=1M/dist=zipf' -impl 'uprung|sethvargo'
//	go run . -suite ratelimit -quick -json results.jsonl
//
// Figures are medians of the rounds. CPU time is that of the whole process. A
// default run of one suite takes up to four minutes on two cores; leave the
// machine alone meanwhile. Ratios hold from one machine to the next more or less,
// absolute figures do not.
//
// With -json, each line of the file is one figure:
//
//	{"suite":"ratelimit","case":"allow/keys=1/cpus=1","impl":"uprung","metric":"cpu_ns","value":37.2,"unit":"ns/op"}
//
// The exit status is 1 if an implementation decided wrongly or could not be set
// up and, under -check, if a target is missed; targets whose cases were not run
// do not count.
//
// A suite is a package of this module that returns a bench.Suite, listed in
// suites. The module is not released: it exists so that nobody who imports the
// library downloads its peers.
package main
