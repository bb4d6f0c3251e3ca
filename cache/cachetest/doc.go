// Package cachetest checks implementations of [cache.Store], and of the interfaces that a
// store may have besides, and has a store in memory to try caches on, with faults.
//
// An implementation passes if this does:
//
//	func TestConformance(t *testing.T) {
//		cachetest.TestStore(t, func(t *testing.T) cache.Store { return open(t) })
//	}
//
// where each call of open gives another client of one and the same engine, as if in
// another process. The suite uses keys of its own, waits for real time to pass, up to a
// few seconds in all, and leaves nothing behind that does not expire.
//
// [Engine] is the reference: it passes, and a [Client] of it can be cut off, hung and
// reconnected, so that a test can see what a program does without its store.
package cachetest
