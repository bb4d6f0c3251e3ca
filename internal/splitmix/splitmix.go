// Package splitmix makes random numbers of numbers: those of a sequence, or of a hash
// (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
package splitmix

// Phi is 2^64 divided by the golden ratio: the step of a sequence whose elements stay
// apart (Knuth, The Art of Computer Programming, volume 3, section 6.4). Mix of its
// elements are the random numbers of splitmix64.
const Phi = 0x9e3779b97f4a7c15

// Mix is the finalizer of splitmix64: a bijection after which every bit of x has changed
// every bit of the result with a probability near one half (constants by Stafford, variant
// 13).
func Mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Fraction maps a random number to [0, 1).
func Fraction(random uint64) float64 { return float64(random>>11) / (1 << 53) }
