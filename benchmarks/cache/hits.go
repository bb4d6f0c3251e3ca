package cache

import (
	"context"

	"github.com/Yiling-J/theine-go"
	"github.com/dgraph-io/ristretto/v2"
	"github.com/hashicorp/golang-lru/arc/v2"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/uprung/uprung/cache"
)

// request asks a cache for a key and sets it if it is not there. It returns true if it was.
type request func(key uint32) bool

// player is an implementation whose hits are counted.
type player struct {
	name string
	make func(size int, seed uint64) (r request, end func(), err error)
}

func players() []player {
	uprung := func(policy cache.Policy) func(int, uint64) (request, func(), error) {
		return func(size int, seed uint64) (request, func(), error) {
			c, err := cache.New[uint32, struct{}](size, &cache.Options[uint32, struct{}]{Policy: policy, Seed: seed})
			if err != nil {
				return nil, nil, err
			}
			ctx := context.Background()
			return func(key uint32) bool {
				if _, ok := c.Get(ctx, key); ok {
					return true
				}
				_ = c.Set(ctx, key, struct{}{}) // cannot fail without a store
				return false
			}, func() {}, nil
		}
	}
	return []player{
		{"uprung", uprung(cache.Adaptive)},
		{"uprung-s3fifo", uprung(cache.S3FIFO)},
		{"uprung-tinylfu", uprung(cache.TinyLFU)},
		{"uprung-lru", uprung(cache.LRU)},
		{"golang-lru", func(size int, _ uint64) (request, func(), error) {
			c, err := lru.New[uint32, struct{}](size)
			return getOrSet(c.Get, func(key uint32) { c.Add(key, struct{}{}) }), func() {}, err
		}},
		{"golang-lru-2q", func(size int, _ uint64) (request, func(), error) {
			c, err := lru.New2Q[uint32, struct{}](size)
			return getOrSet(c.Get, func(key uint32) { c.Add(key, struct{}{}) }), func() {}, err
		}},
		{"golang-lru-arc", func(size int, _ uint64) (request, func(), error) {
			c, err := arc.NewARC[uint32, struct{}](size)
			return getOrSet(c.Get, func(key uint32) { c.Add(key, struct{}{}) }), func() {}, err
		}},
		{otterInline, func(size int, _ uint64) (request, func(), error) {
			c, err := otter.New(&otter.Options[uint32, struct{}]{MaximumSize: size, Executor: func(f func()) { f() }})
			if err != nil {
				return nil, nil, err
			}
			return getOrSet(c.GetIfPresent, func(key uint32) { c.Set(key, struct{}{}) }), func() { c.StopAllGoroutines() }, nil
		}},
		{"theine", func(size int, _ uint64) (request, func(), error) {
			c, err := theine.NewBuilder[uint32, struct{}](int64(size)).Build()
			if err != nil {
				return nil, nil, err
			}
			return getOrSet(c.Get, func(key uint32) { c.Set(key, struct{}{}, 1) }), c.Close, nil
		}},
		{"ristretto", func(size int, _ uint64) (request, func(), error) {
			c, err := ristretto.NewCache(&ristretto.Config[uint32, struct{}]{
				NumCounters: 10 * int64(size), MaxCost: int64(size), BufferItems: 64, IgnoreInternalCost: true,
			})
			if err != nil {
				return nil, nil, err
			}
			return getOrSet(c.Get, func(key uint32) { c.Set(key, struct{}{}, 1) }), c.Close, nil
		}},
	}
}

const otterInline = "otter-inline"

func getOrSet(get func(uint32) (struct{}, bool), set func(uint32)) request {
	return func(key uint32) bool {
		if _, ok := get(key); ok {
			return true
		}
		set(key)
		return false
	}
}
