package ratelimit

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/puzpuzpuz/xsync/v4"
	"golang.org/x/time/rate"
)

func (q quota) xtime() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(q.events)/q.period.Seconds()), int(q.events))
}

// newMutexMap is the code that everyone writes first.
func newMutexMap(q quota, _ int) (limiter, error) {
	var (
		mu       sync.Mutex
		limiters = map[string]*rate.Limiter{}
	)
	return limiter{allow: func(key string) bool {
		mu.Lock()
		l, ok := limiters[key]
		if !ok {
			l = q.xtime()
			limiters[key] = l
		}
		mu.Unlock()
		return l.Allow()
	}}, nil
}

// newGolangLRU is the code that everyone writes once the map has grown too
// large.
func newGolangLRU(q quota, keys int) (limiter, error) {
	limiters, err := lru.New[string, *rate.Limiter](max(keys, defaultCapacity))
	if err != nil {
		return limiter{}, err
	}
	return limiter{allow: func(key string) bool {
		l, ok := limiters.Get(key)
		if !ok {
			l = q.xtime()
			if previous, loaded, _ := limiters.PeekOrAdd(key, l); loaded {
				l = previous
			}
		}
		return l.Allow()
	}}, nil
}

// newXsync is the code that those write whose lock has become hot.
func newXsync(q quota, _ int) (limiter, error) {
	limiters := xsync.NewMap[string, *rate.Limiter]()
	return limiter{allow: func(key string) bool {
		l, ok := limiters.Load(key)
		if !ok {
			l, _ = limiters.LoadOrStore(key, q.xtime())
		}
		return l.Allow()
	}}, nil
}
