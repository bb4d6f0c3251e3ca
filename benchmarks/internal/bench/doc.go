// Package bench measures implementations of the same thing against each other
// in one process: interleaved rounds on the same work, the median of the rounds,
// and a verdict on each declared target.
//
// A [Suite] has contests, a [Contest] has implementations and the cases in which
// they meet, and a [Case] measures one implementation for one round. What a case
// measures is its own affair; [Round.Loop] measures operations in a loop, which
// is what most cases need.
//
// Interleaving is what makes ratios hold on a machine that is not quiet: round r
// runs every implementation once, in an order rotated by r, so that a slow minute
// slows all of them, and the median discards it.
//
// CPU time is that of the whole process (getrusage), garbage collection
// included; the package needs a Unix.
package bench
