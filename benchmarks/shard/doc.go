// Package shard is the benchmark suite of consistent hashing: lookups, building
// and growing a table, its memory, how evenly it spreads keys, and how many of them
// move when a node is added.
//
// Every implementation answers with the name of a node, and is used as its own
// documentation advises. What could not be had as a module is absent, or, where
// targets compare to it, rewritten from what its source does, and then its name
// says so.
package shard
