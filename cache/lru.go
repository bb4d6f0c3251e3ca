package cache

import "github.com/hashicorp/golang-lru/v2/simplelru"

// lru is the policy LRU on golang-lru: its keys are the nodes, and its bound is one that
// is never reached, since the shard has bounds of its own.
type lru[K comparable, V any] struct {
	order *simplelru.LRU[*node[K, V], struct{}]
}

func newLRU[K comparable, V any](most int) policy[K, V] {
	order, err := simplelru.NewLRU[*node[K, V], struct{}](most+1, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &lru[K, V]{order}
}

func (p *lru[K, V]) hit(n *node[K, V]) { p.order.Get(n) }

func (p *lru[K, V]) miss(uint64) {}

func (p *lru[K, V]) insert(n *node[K, V]) {
	n.queue = recent
	p.order.Add(n, struct{}{})
}

func (p *lru[K, V]) replace(old, n *node[K, V]) {
	p.remove(old)
	p.insert(n)
}

func (p *lru[K, V]) remove(n *node[K, V]) {
	n.queue = nowhere
	p.order.Remove(n)
}

func (p *lru[K, V]) evict(int64) *node[K, V] {
	n, _, _ := p.order.RemoveOldest()
	n.queue = nowhere
	return n
}
