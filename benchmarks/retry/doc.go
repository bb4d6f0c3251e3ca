// Package retry is the benchmark suites of repeated requests: retry, what it costs a
// request that there is somebody to repeat it, and hedge, what a second request does
// against the slowest answers, in virtual time.
//
// Every implementation is a round tripper around the same one, used as its own
// documentation advises.
package retry
