package shard

import "github.com/uprung/uprung/benchmarks/internal/bench"

// router is an implementation as the cases use it. All are called through the same
// kind of func value.
type router struct {
	// lookup returns the name of a key's node.
	lookup func(key string) string
	// add adds a node, to the router itself or to a copy of it that is dropped.
	add func(name string) error
	// grown returns a router with one node more, and figures of what that took, if
	// there are any. It is nil where a router that is made of the new nodes is the
	// same.
	grown func(name string) (router, bench.Figures, error)
}

// maker makes a router of nodes. It does not keep the slice.
type maker func(names []string) (router, error)

// entrant is a named maker.
type entrant struct {
	name string
	make maker
	// most is the largest number of nodes of a case in which it takes part. Zero
	// means that there is no limit.
	most int
}

// entrants returns those that meet in the cases of a kind of table, ours first.
func entrants(table string) []entrant {
	grpcRing := entrant{name: "grpc-ring-rewritten", make: newGRPCRing}
	groupcache := entrant{name: "groupcache", make: newGroupcache}
	switch table {
	case "ring":
		return []entrant{
			{name: bench.Ours, make: newRing(0)},
			{name: "stathat", make: newStathat, most: 1000},
			grpcRing,
			{name: "serialx", make: newSerialx},
			groupcache,
		}
	case "maglev":
		return []entrant{
			{name: bench.Ours, make: newMaglev},
			{name: "dgryski-maglev-rewritten", make: newDgryski(siphashed)},
			{name: "dgryski-maglev-rewritten-xxhash", make: newDgryski(xxhashed)},
			{name: "kkdai-maglev", make: newKkdai, most: 1000},
		}
	case "rendezvous":
		return []entrant{{name: bench.Ours, make: newRendezvous}, grpcRing, groupcache}
	case "slots":
		return []entrant{{name: bench.Ours, make: newSlots}, grpcRing, groupcache}
	case "jump":
		return []entrant{{name: bench.Ours, make: newJump}, grpcRing, groupcache}
	}
	panic("no table " + table)
}

// balanced returns those that meet in a balance case.
func balanced(table string) []entrant {
	all := entrants(table)
	if table == "ring" {
		all = append(all, entrant{name: bench.Ours + "-512", make: newRing(512)})
	}
	return all
}
