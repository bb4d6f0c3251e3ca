//go:build linux

package fleet

import (
	"sync/atomic"
	"time"
)

// Service is the work of a server, be it a process or simulated: it has so many
// workers, and a queue in order of arrival.
type Service struct {
	workers chan struct{}
	slowBy  atomic.Int64
	seen    func() // is told of each request
	pass    func() // blocks while no progress is made
}

func newService(seen, pass func()) *Service {
	s := &Service{workers: make(chan struct{}, Workers), seen: seen, pass: pass}
	s.slowBy.Store(1)
	return s
}

// Do does some work, whoever waits for that.
func (s *Service) Do(work time.Duration) {
	s.pass()
	s.seen()
	s.workers <- struct{}{}
	s.pass()
	time.Sleep(work * time.Duration(s.slowBy.Load()))
	s.pass()
	<-s.workers
}
