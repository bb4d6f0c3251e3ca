package chaos

// hash is FNV-1a of 64 bits, the same in every process: a part of the keys is the same
// part everywhere.
func hash(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}
