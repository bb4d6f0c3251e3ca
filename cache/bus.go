package cache

import (
	"context"
	"strings"
	"sync"
)

// LocalBus is a [Bus] within one process, for caches that share a [Store] which does not
// announce changes itself. Use [NewLocalBus]. It is safe for concurrent use.
type LocalBus struct {
	mu   sync.RWMutex
	subs map[*subscriber]struct{} // guarded by mu
}

// NewLocalBus returns a bus without subscribers.
func NewLocalBus() *LocalBus { return &LocalBus{subs: make(map[*subscriber]struct{})} }

// Subscribe adds a listener. Its functions are called by whoever publishes, and have
// returned when Publish does.
func (b *LocalBus) Subscribe(l Listener) Subscription {
	s := &subscriber{bus: b, l: l}
	b.mu.Lock()
	b.subs[s] = struct{}{}
	b.mu.Unlock()
	return s
}

// subscriber is a listener that is called by one goroutine at a time.
type subscriber struct {
	bus *LocalBus
	l   Listener

	mu     sync.Mutex
	closed bool // guarded by mu
}

// Publish never fails.
func (s *subscriber) Publish(_ context.Context, keys []string) error {
	s.bus.mu.RLock()
	others := make([]*subscriber, 0, len(s.bus.subs))
	for other := range s.bus.subs {
		if other != s {
			others = append(others, other)
		}
	}
	s.bus.mu.RUnlock()
	for _, other := range others {
		other.tell(keys)
	}
	return nil
}

func (s *subscriber) tell(keys []string) {
	var wanted []string
	for _, key := range keys {
		if strings.HasPrefix(key, s.l.Prefix) {
			wanted = append(wanted, key)
		}
	}
	if len(wanted) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.l.Changed(wanted)
	}
}

func (s *subscriber) Close() error {
	s.bus.mu.Lock()
	delete(s.bus.subs, s)
	s.bus.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}
