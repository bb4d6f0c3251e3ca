package shard

import (
	"cmp"
	"math"
	"slices"
	"sort"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"github.com/dchest/siphash"
)

// The settings of grpc-go's ring_hash policy that apply unless a configuration says
// otherwise.
const (
	grpcMinSize = 1024
	grpcMaxSize = 4096
)

// grpcItem is an item of the ring. Like the original, the ring is a slice of
// pointers to items, each of which points to its connection.
type grpcItem struct {
	hash uint64
	conn *grpcConn
}

type grpcConn struct{ addr string }

// newGRPCRing does what the ring of grpc-go's ring_hash policy does, which is
// internal: as many items for each of equally weighted addresses as make about 1024,
// at most 4096 in all, sorted by hash, and a binary search by sort.Search for the
// first that is not below the key's. Connections and their states, of which a pick
// of the original looks one up besides, are left out.
func newGRPCRing(names []string) (router, error) {
	names = slices.Sorted(slices.Values(names))
	share := 1 / float64(len(names))
	scale := min(math.Ceil(share*grpcMinSize)/share, grpcMaxSize)
	var ring []*grpcItem
	target := 0.0
	for _, name := range names {
		conn := &grpcConn{name}
		target += scale * share
		for i := 0; float64(len(ring)) < target; i++ {
			ring = append(ring, &grpcItem{xxhash.Sum64String(name + "_" + strconv.Itoa(i)), conn})
		}
	}
	slices.SortFunc(ring, func(a, b *grpcItem) int { return cmp.Compare(a.hash, b.hash) })
	return router{
		lookup: func(key string) string {
			h := xxhash.Sum64String(key)
			i := sort.Search(len(ring), func(i int) bool { return ring[i].hash >= h })
			if i == len(ring) {
				i = 0
			}
			return ring[i].conn.addr
		},
		add: func(name string) error { // a new list of addresses makes a new ring
			_, err := newGRPCRing(append(slices.Clone(names), name))
			return err
		},
	}, nil
}

// dgryskiSeed is the key of the siphash by which go-maglev hashes names.
const dgryskiSeed = 0xdeadbeefcafebabe

// siphashed hashes a key for go-maglev, which wants keys hashed already, as it
// hashes names itself.
func siphashed(key string) uint64 { return siphash.Hash(dgryskiSeed, 0, []byte(key)) }

// xxhashed does so as we do.
func xxhashed(key string) uint64 { return xxhash.Sum64String(key) }

// newDgryski does what github.com/dgryski/go-maglev does: a table of int, by a
// permutation from the two halves of a siphash of each name, and a lookup by the
// remainder of the hash. The permutations are not stored, only computed.
func newDgryski(hash func(string) uint64) maker {
	return func(names []string) (router, error) {
		names = slices.Clone(names)
		next, skip := make([]uint64, len(names)), make([]uint64, len(names))
		for i, name := range names {
			h := siphash.Hash(dgryskiSeed, 0, []byte(name))
			next[i], skip[i] = h>>32%maglevSize, h&math.MaxUint32%(maglevSize-1)+1
		}
		table := make([]int, maglevSize)
		for i := range table {
			table[i] = -1
		}
		for placed, node := 0, 0; placed < len(table); placed, node = placed+1, (node+1)%len(names) {
			for table[next[node]] >= 0 {
				next[node] = (next[node] + skip[node]) % maglevSize
			}
			table[next[node]] = node
		}
		return router{lookup: func(key string) string {
			return names[table[hash(key)%uint64(len(table))]]
		}}, nil
	}
}
