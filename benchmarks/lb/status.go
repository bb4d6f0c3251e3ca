package lb

import (
	"slices"
	"time"
)

// status is what a backend tells those who probe it: the requests that it has, and
// how long such requests took lately as have found as many.
type status struct {
	inFlight []served // by when they are finished
	// took has the last latencies of requests that found so many.
	took [mostFound + 1]latencies
}

// mostFound is where the requests found are not told apart any more.
const mostFound = 255

// served is a request that has arrived.
type served struct {
	arrived, finished time.Duration
	found             int // requests in flight
}

// latencies are the last of them.
type latencies struct {
	last [kept]time.Duration
	n    int
}

// kept is the number of latencies of which the median is told.
const kept = 16

// arrive notes a request and what is known already: when it will be finished.
func (s *status) arrive(now, finish time.Duration) {
	s.advance(now)
	one := served{now, finish, len(s.inFlight)}
	at := len(s.inFlight)
	for at > 0 && s.inFlight[at-1].finished > finish { // by few places: there are few workers
		at--
	}
	s.inFlight = slices.Insert(s.inFlight, at, one)
}

// advance notes what is finished by now.
func (s *status) advance(now time.Duration) {
	n := 0
	for n < len(s.inFlight) && s.inFlight[n].finished <= now {
		one := &s.inFlight[n]
		l := &s.took[min(one.found, mostFound)]
		l.last[l.n%kept] = one.finished - one.arrived
		l.n++
		n++
	}
	s.inFlight = slices.Delete(s.inFlight, 0, n)
}

// probe returns the number of requests, and the median of the last latencies of
// those that found as many or, if there are none, of those that found nearly as many.
func (s *status) probe(now time.Duration) (inFlight int, latency time.Duration) {
	s.advance(now)
	at := min(len(s.inFlight), mostFound)
	for off := range mostFound + 1 {
		for _, i := range [2]int{at - off, at + off} {
			if i >= 0 && i <= mostFound && s.took[i].n > 0 {
				return len(s.inFlight), s.took[i].median()
			}
		}
	}
	return len(s.inFlight), 0
}

func (l *latencies) median() time.Duration {
	sorted := l.last
	n := min(l.n, kept)
	slices.Sort(sorted[:n])
	return sorted[n/2]
}
