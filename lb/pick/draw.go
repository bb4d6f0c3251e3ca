package pick

import "math/bits"

// pair draws two different numbers below n, n >= 2, with the low and the high half
// of a random number.
func pair(random uint64, n int) (a, b int) {
	a = int(random & (1<<32 - 1) * uint64(n) >> 32)
	b = int(random >> 32 * uint64(n-1) >> 32)
	if b >= a {
		b++
	}
	return a, b
}

// below draws one number below n.
func below(random uint64, n int) int {
	high, _ := bits.Mul64(random, uint64(n))
	return int(high)
}

// most is how many endpoints are compared at a time, except by [LeastRequest].
const most = 4

// search looks from a random place on for endpoints that the filter does not
// refuse, and returns the best of the first few, or -1. It is what is left to do
// when all that were drawn are refused.
func search(up []int32, r *Request, score func(endpoint int32) float64) int32 {
	best, lowest, found := int32(-1), 0.0, 0
	start := below(r.Random, len(up))
	for i := range up {
		endpoint := up[(start+i)%len(up)]
		if endpoint == best || r.Filter != nil && r.Filter.Refuses(int(endpoint)) {
			continue
		}
		if s := score(endpoint); found == 0 || s < lowest {
			best, lowest = endpoint, s
		}
		if found++; found == most {
			break
		}
	}
	return best
}
