package cache

import (
	"fmt"
	"hash/maphash"
)

// hasher returns the hash of keys. Without a seed it is secret, so that nobody can choose
// keys that collide. With one it repeats from one process to the next, for tests.
func hasher[K comparable](seed uint64) func(K) uint64 {
	if seed == 0 {
		secret := maphash.MakeSeed()
		return func(key K) uint64 { return maphash.Comparable(secret, key) }
	}
	return func(key K) uint64 {
		switch key := any(key).(type) {
		case int:
			return mix(seed ^ mix(uint64(key)))
		case uint32:
			return mix(seed ^ mix(uint64(key)))
		case uint64:
			return mix(seed ^ mix(key))
		case string:
			return hashString(seed, key)
		}
		return hashString(seed, fmt.Sprintf("%#v", key))
	}
}

// hashString is FNV-1a with a better end.
func hashString(seed uint64, s string) uint64 {
	h := mix(seed) ^ 0xcbf29ce484222325
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h)
}

// mix is the finalizer of splitmix64: Steele, Lea and Flood, Fast Splittable
// Pseudorandom Number Generators, OOPSLA 2014.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
