package cache

import "container/heap"

// belady returns the hits of the best there can be (Belady, A Study of Replacement
// Algorithms for a Virtual-Storage Computer, 1966): it knows the future, and drops what is
// asked for last. What is not asked for before any of what is there is not even taken.
func belady(keys []uint32, size int) (hits int) {
	const never = int(^uint(0) >> 1)
	next := make([]int, len(keys))
	last := make(map[uint32]int)
	for i := len(keys) - 1; i >= 0; i-- {
		next[i] = never
		if at, ok := last[keys[i]]; ok {
			next[i] = at
		}
		last[keys[i]] = i
	}
	inside := make(map[uint32]int, size) // the next request of what is there
	var order farthest                   // with entries that hold no longer
	for i, key := range keys {
		if _, ok := inside[key]; ok {
			hits++
			inside[key] = next[i]
			heap.Push(&order, future{key, next[i]})
			continue
		}
		if len(inside) >= size {
			for {
				top := order[0]
				if inside[top.key] != top.at {
					heap.Pop(&order)
					continue
				}
				break
			}
			if order[0].at <= next[i] {
				continue
			}
			delete(inside, heap.Pop(&order).(future).key)
		}
		inside[key] = next[i]
		heap.Push(&order, future{key, next[i]})
	}
	return hits
}

// future is when a key is asked for next.
type future struct {
	key uint32
	at  int
}

type farthest []future

func (f farthest) Len() int           { return len(f) }
func (f farthest) Less(i, j int) bool { return f[i].at > f[j].at }
func (f farthest) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *farthest) Push(x any)        { *f = append(*f, x.(future)) }
func (f *farthest) Pop() any {
	old := *f
	x := old[len(old)-1]
	*f = old[:len(old)-1]
	return x
}
