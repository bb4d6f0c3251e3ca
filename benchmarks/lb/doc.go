// Package lb is the benchmark suites of load balancing: lb, what a decision costs,
// and lb-sim, how good decisions are, by a simulation of clients and unequal,
// disturbed, stalled and failing backends.
//
// Policies that could not be had as a module, because they are internal or in
// another language, are written anew from what is published about them.
package lb
