package chaos

// phi is the golden ratio as a fraction of 2^64: multiples of it are spread evenly.
const phi = 0x9e3779b97f4a7c15

// mix is the finalizer of splitmix64 (Steele, Lea and Flood, OOPSLA 2014; constants by
// Stafford, variant 13).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// hash is FNV-1a of 64 bits, the same in every process: a part of the keys is the same
// part everywhere.
func hash(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}

// fraction maps a random number to [0, 1).
func fraction(random uint64) float64 { return float64(random>>11) / (1 << 53) }
