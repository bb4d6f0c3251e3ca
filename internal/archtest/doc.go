// Package archtest holds the tests that guard the shape of the module: which
// package may import which, what a package may import from elsewhere, what
// adopting one costs a program, and that what is exported is documented.
//
// The picture, with arrows that go down only:
//
//	floor 3   examples, client, prom
//	floor 2   lb, replicate, and the leaves under their parents
//	floor 1   ratelimit, cache, shard, health, breaker, retry, deadline, chaos, lb/pick
//	floor 0   uprung (the root), key, internal
//
// Packages of one floor do not import each other, but for the edges that the
// picture in the tests names.
package archtest
