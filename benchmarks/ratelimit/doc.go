// Package ratelimit is the benchmark suite of rate limiters: keyed decisions,
// the memory of a million keys, and what limiting adds to an HTTP request.
//
// Every peer is used as its own documentation advises, in a file of its own, and
// a test makes sure that each really limits. Two things are chosen in favour of
// peers: quotas are per hour, because one allows again too little, and another
// empties its maps, whenever a window ends; and no key is ever a new string, so
// that maps find equal pointers.
package ratelimit
