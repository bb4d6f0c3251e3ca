package rediscache

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/cache"
)

// subscriptions are those who listen.
type subscriptions struct {
	mu  sync.RWMutex
	all []*subscription // copied when changed; guarded by mu
}

func (s *subscriptions) list() []*subscription {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.all
}

// subscription is a listener that is called by one goroutine at a time.
type subscription struct {
	of *subscriptions
	l  cache.Listener

	mu     sync.Mutex // held while the listener is called
	closed bool       // guarded by mu
}

// Subscribe has a listener told of what others change, of what has been read before. There
// is nothing to be told of anything else, since nothing of it is held.
func (s *Store) Subscribe(l cache.Listener) cache.Subscription {
	sub := &subscription{of: &s.subs, l: l}
	s.subs.mu.Lock()
	defer s.subs.mu.Unlock()
	s.subs.all = append(slices.Clone(s.subs.all), sub)
	return sub
}

// Publish tells the other caches in this process that use the same store. Those elsewhere
// were told by the server when the keys changed.
func (sub *subscription) Publish(_ context.Context, keys []string) error {
	for _, other := range sub.of.list() {
		if other != sub {
			other.tell(keys)
		}
	}
	return nil
}

func (sub *subscription) tell(keys []string) {
	wanted := make([]string, 0, len(keys))
	for _, key := range keys {
		if strings.HasPrefix(key, sub.l.Prefix) {
			wanted = append(wanted, key)
		}
	}
	if len(wanted) == 0 {
		return
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if !sub.closed {
		sub.l.Changed(wanted)
	}
}

func (sub *subscription) lose() {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	if !sub.closed {
		sub.l.Lost()
	}
}

// Close ends the subscription.
func (sub *subscription) Close() error {
	sub.of.mu.Lock()
	sub.of.all = slices.DeleteFunc(slices.Clone(sub.of.all), func(other *subscription) bool { return other == sub })
	sub.of.mu.Unlock()
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.closed = true
	return nil
}

// invalidated is called with what the server tells on a connection, in the order of its
// answers there. Nil means that all has changed, or that the connection is gone and the
// server forgets what was read on it.
func (s *Store) invalidated(messages []rueidis.RedisMessage) {
	if messages == nil {
		s.lost()
		s.missAll() // since what is loaded before there is a connection again is not known to the server
		return
	}
	keys := make([]string, 0, len(messages))
	for i := range messages {
		if key, err := messages[i].ToString(); err == nil {
			keys = append(keys, key)
		}
	}
	s.changed(keys)
}

// changed tells everybody that keys have changed.
func (s *Store) changed(keys []string) {
	s.counts.changes.Add(uint64(len(keys)))
	for _, sub := range s.subs.list() {
		sub.tell(keys)
	}
	s.wake(keys...)
}

// lost tells everybody that everything may have changed.
func (s *Store) lost() {
	s.counts.losses.Add(1)
	s.clock.forget() // the next connection may be to another server
	for _, sub := range s.subs.list() {
		sub.lose()
	}
	s.wakeAll()
}

// missed notes keys of calls without an answer. Whoever made them may hold something that
// the server does not know of and will not tell about. When Redis answers again, listeners
// are told that these keys have changed, or that everything has if they are too many. A
// goroutine finds out when, which is there only as long as there are any.
type missed struct {
	mu      sync.Mutex
	keys    map[string]struct{} // guarded by mu
	all     bool                // guarded by mu
	healing bool                // there is a goroutine; guarded by mu
	closed  bool                // guarded by mu
	end     chan struct{}       // closed by close; made with the goroutine; guarded by mu
	tasks   sync.WaitGroup      // added to under mu
}

const (
	mostMissed = 1000
	healPeriod = 50 * time.Millisecond
)

// miss notes a key, after the call and before its caller goes on.
func (s *Store) miss(key string) {
	m := &s.missed
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.all {
		m.keys[key] = struct{}{}
	}
	if len(m.keys) > mostMissed {
		m.all = true
		m.sample()
	}
	s.heal()
}

// missAll notes that everything was missed.
func (s *Store) missAll() {
	m := &s.missed
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = true
	m.sample()
	s.heal()
}

// sample keeps one key of each part of a cluster, to ask for. It is called under mu.
func (m *missed) sample() {
	var seen [partitions]bool
	for key := range m.keys {
		if p := partition(key); seen[p] {
			delete(m.keys, key)
		} else {
			seen[p] = true
		}
	}
}

// heal starts the goroutine, if there is none. It is called under the mutex of missed.
func (s *Store) heal() {
	m := &s.missed
	if m.healing || m.closed {
		return
	}
	m.healing = true
	if m.end == nil {
		m.end = make(chan struct{})
	}
	end := m.end
	m.tasks.Go(func() {
		tick := time.NewTicker(healPeriod)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			if s.healed() {
				return
			}
		}
	})
}

// healed asks for a key of each part in which some were missed, and tells of those that
// can be had again. It returns true when nothing is left to be told.
func (s *Store) healed() bool {
	m := &s.missed
	m.mu.Lock()
	all := m.all
	var keys [partitions][]string
	for key := range m.keys {
		p := 0
		if s.cluster.Load() {
			p = partition(key)
		}
		keys[p] = append(keys[p], key)
	}
	m.mu.Unlock()

	answers := true
	var told []string
	for _, part := range keys {
		switch {
		case len(part) == 0:
		case s.answers(part[0]):
			told = append(told, part...)
		default:
			answers = false
		}
	}
	if all && len(told) == 0 && answers {
		answers = s.answers("uprung") // any key will do
	}
	m.mu.Lock()
	lost := all && answers
	if lost {
		m.all = false
	}
	for _, key := range told {
		delete(m.keys, key)
	}
	m.mu.Unlock()
	// What is missed from here on is told of the next time.
	switch {
	case lost:
		s.lost()
	case len(told) > 0:
		s.changed(told)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.healing = m.all || len(m.keys) > 0
	return !m.healing
}

// answers reports whether Redis answers about a key.
func (s *Store) answers(key string) bool {
	return s.redis.Do(context.Background(), key, func(ctx context.Context, c rueidis.Client) error {
		s.meet(c)
		return c.Do(ctx, c.B().Exists().Key(key).Build()).Error()
	}) == nil
}

// close ends the goroutine.
func (m *missed) close() {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		if m.end != nil {
			close(m.end)
		}
	}
	m.mu.Unlock()
	m.tasks.Wait()
}
