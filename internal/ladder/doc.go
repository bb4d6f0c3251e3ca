// Package ladder is the engine of examples/ladder: it measures what a technique
// does under the fault that it exists for, first without it and then with it.
//
// A [Rung] is one technique with its traffic, its fault, and what it promises.
// [Config.Climb] takes the rungs one after another; for each it draws up a schedule
// of requests, sends them over HTTP to the handler that the rung sets up, once
// without the technique and once with it, and judges the two records.
//
// It is not a load generator for production systems, and its figures say nothing
// about how fast a machine is: servers of limited capacity are played by [Origin],
// which sleeps, so that a small machine and a large one see the same story. Several
// of them with addresses of their own are a [Cluster].
//
// # The shortest path
//
//	climb := ladder.Config{Rungs: []*ladder.Rung{limit()}, Duration: 20 * time.Second, Seed: 1}
//	outcomes, err := climb.Climb(ctx)
//	if err != nil {
//		return err
//	}
//	return ladder.WriteTable(os.Stdout, outcomes, false)
//
// # Behavior
//
// The load is an open loop: the instants of all requests are drawn from a seed
// before the first is sent, do not depend on the answers, and are the same in
// both halves. The latency of a request counts from its scheduled instant, so that
// a generator or a server that stalls is charged with everything that it keeps
// waiting. At most a fixed number of requests are in flight; one that comes on top
// fails and is counted as failed.
//
// Each half has three parts: it settles, which is not recorded; it is measured; and
// the last requests are waited for, at most for the patience of the rung. Climb takes
// no longer than Duration, but for starting and stopping servers.
//
// # References
//
// Gil Tene, "How NOT to Measure Latency" (2015), on coordinated omission.
// Schroeder, Wierman and Harchol-Balter, "Open Versus Closed: A Cautionary Tale"
// (NSDI 2006), on the difference that the shape of the load makes.
package ladder
