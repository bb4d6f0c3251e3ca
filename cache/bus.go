package cache

import (
	"context"
	"strings"
	"sync"
)

// LocalBus is a [Bus] within one process, for caches that share a [Store] whose changes
// it does not announce itself. Use [NewLocalBus]. It is safe for concurrent use.
type LocalBus struct {
	mu   sync.RWMutex
	subs map[*subscriber]struct{} // guarded by mu
}

// NewLocalBus returns a bus without subscribers.
func NewLocalBus() *LocalBus { return &LocalBus{subs: make(map[*subscriber]struct{})} }

// subscriber is a listener that is called by one goroutine at a time.
type subscriber struct {
	mu      sync.Mutex
	stopped bool // guarded by mu
	l       Listener
}

func (s *subscriber) changed(keys []string) {
	var wanted []string
	for _, key := range keys {
		if strings.HasPrefix(key, s.l.Prefix) {
			wanted = append(wanted, key)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped && len(wanted) > 0 {
		s.l.Changed(wanted)
	}
}

// Publish calls all subscribers, the publisher's own cache among them, before it
// returns. It never fails.
func (b *LocalBus) Publish(_ context.Context, keys []string) error {
	b.mu.RLock()
	subs := make([]*subscriber, 0, len(b.subs))
	for s := range b.subs {
		subs = append(subs, s)
	}
	b.mu.RUnlock()
	for _, s := range subs {
		s.changed(keys)
	}
	return nil
}

// Subscribe adds a listener.
func (b *LocalBus) Subscribe(l Listener) (stop func()) {
	s := &subscriber{l: l}
	b.mu.Lock()
	b.subs[s] = struct{}{}
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		delete(b.subs, s)
		b.mu.Unlock()
		s.mu.Lock()
		s.stopped = true
		s.mu.Unlock()
	}
}
