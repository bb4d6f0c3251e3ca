// Package shard routes keys to nodes, such as users to databases or cache keys to
// cache servers, so that a key always finds its node and as few keys as possible
// move when nodes come and go.
//
// A [Table] maps the hash of a key to one of its nodes and to all others in an
// order of preference. There are five kinds, from which to choose below. A [Map]
// holds a table beside a value for each node, such as a client or a handler, and
// replaces both at once while readers go on.
//
// Do not use it where any node can serve any request: a load balancer that looks
// at how busy the nodes are does better. Do not use it against those who choose
// the keys: the hash is not secret, and they can send all they have to one node;
// [Hot] and [Bounded] soften that.
//
// # The shortest path
//
// For what may be lost when its node changes, such as the contents of a cache:
//
//	caches, err := shard.NewMap([]shard.Entry[*Client]{
//		{Node: shard.Node{ID: "cache-0"}, Value: client0},
//		{Node: shard.Node{ID: "cache-1"}, Value: client1},
//		{Node: shard.Node{ID: "cache-2", Weight: 2}, Value: client2},
//	}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	client, err := caches.Get(userID)
//
// Databases begin with [Slots], as the example of [MapOptions] does, and go on as
// described under Resharding. The program examples/shard looks keys up, asks what one
// more node would move, and adds it.
//
// # Choosing
//
// The busiest node relative to the average, what moves when one node is added
// relative to the least possible, memory, and the time of a lookup with its hash of
// a 16-byte key:
//
//	table        busiest of   moved with        memory for    lookup at
//	             100 equal    100 / 1000 nodes  100 nodes     100 / 1000 nodes
//	Ring         1.20         1 / 1             290 KB        19 / 19 ns
//	  512 points 1.11         1 / 1             880 KB        19 / 21 ns
//	Maglev       1.00         1.6 / 7           128 KB        10 / 10 ns
//	Rendezvous   1.00         1 / 1             0.8 KB        190 / 1400 ns
//	Jump         1.00         1 / 1, at the     0.2 KB        28 / 28 ns
//	                          end only
//	Slots        1.00         1 / 1             32 KB         7 / 7 ns
//
// The first column leaves out the chance by which a number of keys is uneven in
// any table. With Slots and Maglev it depends on how many slots or entries there
// are for a node, here 164 and 655.
//
//	you want                                      use
//	nodes that come and go, and nothing to store  Ring
//	the same, with 30 nodes or fewer, evenly      Rendezvous
//	equal shares and speed; a key that moves      Maglev
//	  costs little
//	numbered shards that only become more         Jump
//	databases: to know, plan and record what      Slots
//	  moves
//
//	to move data without stopping                 NewPlan, Mover
//	no node above its share of the load           Bounded
//	keys that are asked for too often             Hot, Map.Spread
//	to ask all shards                             Scatter
//	requests to go where their key belongs        Handler
//
// # Resharding, step by step
//
// A [Mover] takes what is stored from one table to another, under reads and writes:
//
//  1. Derive the new table from the one in use: [Slots.Rebalance], [Ring.Add],
//     [Ring.Remove]. Store what both follow from, the old one too: the owners of all
//     slots, or the nodes and options of a ring. After a crash, the plan is made anew
//     from these two, and must be the same.
//  2. Make the plan with [NewPlan], and read what it says before anything moves.
//  3. Give it a checkpoint of its own, empty, and call [NewMover] in the one process
//     that writes. What is reached at the homes that it names, keep by the ID of the
//     node, for the nodes of both tables: a [Map] of them all has [Map.Node].
//  4. Send every read and write through [Mover.Read] and [Mover.Write], and release
//     them. Wait until every write that began in another way has ended, in this process
//     or in any other, and only then go on: such a write is not waited for, and may be
//     lost.
//  5. Call [Mover.Run], and again when it returns an error. After a crash, make the
//     Mover anew from the tables of step 1 and the same checkpoint.
//  6. When Run has returned nil, the new table is the one in use: store it as that,
//     give it to [Map.Set] or what else routes, and then let reads and writes go the
//     direct way. Forget the old table and the checkpoint, which is for no other plan.
//
// # Behavior
//
// Keys are hashed by xxhash64 with seed 0 (see [Hash]), nodes by their IDs, and
// tables are computed in integers: the answer is the same in every process and on
// every architecture, and stays the same in later versions of this package. Jump
// alone divides floating-point numbers, once for each jump, as IEEE 754 defines it.
// The order in which nodes are given makes no difference. testdata/vectors.json
// has examples for implementations in other languages, and
// testdata/check_vectors.py is one of these.
//
// Tables are immutable: readers need no lock, and a change is another table.
// [Ring.Add] and [Ring.Remove] take about a millisecond with 1000 nodes; the others
// are built anew in some milliseconds, or some ten for Maglev with unequal weights. No
// lookup allocates.
//
// A ring's shares are random: with 160 points for each node, the busiest of 100 has
// 1.13 to 1.33 times the average, depending on the IDs.
//
// A node's weight is its share relative to the others. Zero is 1, so that a node
// that drains is one left out of the table, not one of weight 0. A table has at least
// one node: none is an error when it is made.
//
// Processes whose tables differ, for as long as a change is on its way to all of
// them, send a key to two nodes. Tables do not prevent that; what is stored must be
// moved, and written in one place only, by those who know of both.
//
// # References
//
//   - Karger, Lehman, Leighton, Panigrahy, Levine, Lewin: Consistent Hashing and
//     Random Trees. STOC 1997.
//   - Eisenbud et al.: Maglev: A Fast and Reliable Software Network Load Balancer.
//     NSDI 2016.
//   - Thaler, Ravishankar: Using Name-Based Mappings to Increase Hit Rates.
//     IEEE/ACM Transactions on Networking 6(1), 1998.
//   - Schindelhauer, Schomaker: Weighted Distributed Hash Tables. SPAA 2005.
//   - Lamping, Veach: A Fast, Minimal Memory, Consistent Hash Algorithm.
//     arXiv:1406.2294, 2014.
//   - Redis Cluster Specification, key distribution model: 16384 hash slots.
//   - Mirrokni, Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads.
//     SODA 2018.
//   - The xxHash specification, version 0.1.1.
package shard
