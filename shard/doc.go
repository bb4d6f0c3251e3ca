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
//	stores, err := shard.NewMap([]shard.Entry[*sql.DB]{
//		{Node: shard.Node{ID: "db-0"}, Value: db0},
//		{Node: shard.Node{ID: "db-1"}, Value: db1},
//		{Node: shard.Node{ID: "db-2", Weight: 2}, Value: db2},
//	}, nil)
//	if err != nil {
//		log.Fatal(err)
//	}
//	db, err := stores.Get(userID)
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
// are built anew in less than three. No lookup allocates.
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
