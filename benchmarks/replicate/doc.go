// Package replicate is the benchmark suite of what it costs a statement to be sent to the
// right one of several databases: a primary and two replicas in memory, which answer at
// once. Every implementation is used as its own documentation advises.
package replicate
