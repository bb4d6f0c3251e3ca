//go:build linux

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// network is how long a request or an answer is on its way to a simulated server.
const network = 250 * time.Microsecond

// Model is a simulated fleet, and the round tripper to it. Nothing takes CPU time; all
// else is as in a process: a service in the same form, with the same number of workers,
// that goes on with requests nobody waits for, refuses connections and resets them when
// killed, and accepts and never answers while stalled.
//
// Make it and use it in one bubble of testing/synctest.
type Model struct {
	backends map[string]*modelled
	addrs    []string
	serving  sync.WaitGroup
}

// modelled is a simulated server.
type modelled struct {
	mu    sync.Mutex
	one   *instance     // guarded by mu; nil while there is none
	going chan struct{} // guarded by mu; closed but in a stall
}

// instance is a simulated process.
type instance struct {
	*Service
	died chan struct{} // closed when it is killed
}

// NewModel returns a simulated fleet.
func NewModel() *Model {
	m := &Model{backends: map[string]*modelled{}}
	for i := range Backends {
		b := &modelled{going: make(chan struct{})}
		close(b.going)
		b.start()
		addr := fmt.Sprintf("backend-%d:80", i)
		m.backends[addr], m.addrs = b, append(m.addrs, addr)
	}
	return m
}

// Addrs returns the addresses of all servers.
func (m *Model) Addrs() []string { return m.addrs }

// Wait waits until all is done that was asked for.
func (m *Model) Wait() { m.serving.Wait() }

// Strike implements [Fleet].
func (m *Model) Strike(f Fault, begins bool) error {
	b := m.backends[m.addrs[f.Backend]]
	if f.Kind == Killed && !begins {
		b.start()
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case f.Kind == Slowed && begins:
		b.one.slowBy.Store(SlowBy)
	case f.Kind == Slowed:
		b.one.slowBy.Store(1)
	case f.Kind == Stalled && begins:
		b.going = make(chan struct{})
	case f.Kind == Stalled:
		close(b.going)
	default:
		close(b.one.died)
		b.one = nil
	}
	return nil
}

func (b *modelled) start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.one = &instance{newService(func() {}, b.pass), make(chan struct{})}
}

// pass waits for the end of a stall. What a worker waits for does come about during
// one: it has that much less to do afterwards, as processes that were stopped.
func (b *modelled) pass() {
	b.mu.Lock()
	going := b.going
	b.mu.Unlock()
	<-going
}

// RoundTrip has a request served.
func (m *Model) RoundTrip(r *http.Request) (*http.Response, error) {
	work, err := workOf(r)
	if err != nil {
		return nil, err
	}
	time.Sleep(network)
	b := m.backends[r.URL.Host]
	b.mu.Lock()
	one := b.one
	b.mu.Unlock()
	if one == nil {
		time.Sleep(network)
		return nil, errors.New("connection refused")
	}
	done := make(chan struct{})
	m.serving.Go(func() { // also if nobody waits for it
		one.Do(work)
		close(done)
	})
	select {
	case <-done:
	case <-one.died:
		err = errors.New("connection reset")
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
	time.Sleep(network)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}
