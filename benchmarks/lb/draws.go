package lb

import "math/bits"

// draws is splitmix64 (Steele, Lea and Flood, OOPSLA 2014): it makes as many random
// numbers of that of a request as a policy needs. It is a source for math/rand.
type draws uint64

// Seed begins anew.
func (d *draws) Seed(seed int64) { *d = draws(seed) }

// Uint64 returns the next random number.
func (d *draws) Uint64() uint64 {
	*d += 0x9e3779b97f4a7c15
	x := uint64(*d)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Int63 returns the next random number without its lowest bit.
func (d *draws) Int63() int64 { return int64(d.Uint64() >> 1) }

// below returns a random number below n.
func (d *draws) below(n int) int {
	high, _ := bits.Mul64(d.Uint64(), uint64(n))
	return int(high)
}

// pair returns two different ones.
func (d *draws) pair(n int) (a, b int) {
	a, b = d.below(n), d.below(n-1)
	if b >= a {
		b++
	}
	return a, b
}
