package lb

import (
	"math"
	"math/rand/v2"
	"time"
)

// workers is the number of requests that a backend serves at once.
const workers = 4

// backend is a server with workers and a queue in order of arrival. When a request
// will be finished is known when it arrives: those that come later change nothing.
type backend struct {
	speeds speeds
	slowBy int64
	// from and to are when it fails.
	from, to time.Duration
	free     [workers]time.Duration // when each worker is
	status   *status                // nil if nobody probes
}

// arrive has a request served and returns when that is finished, and whether it
// fails. Requests arrive in the order of time.
func (b *backend) arrive(now, work time.Duration) (finish time.Duration, failed bool) {
	if now >= b.from && now < b.to {
		finish, failed = now+failingIn, true
	} else {
		first := 0
		for i := 1; i < workers; i++ {
			if b.free[i] < b.free[first] {
				first = i
			}
		}
		finish = b.speeds.after(max(now, b.free[first]), work*time.Duration(b.slowBy))
		b.free[first] = finish
	}
	if b.status != nil {
		b.status.arrive(now, finish)
	}
	return finish, failed
}

// speeds is how fast a backend works at which time.
type speeds struct {
	all  []speed
	next int // is the one in force at the last start
}

// speed is the progress per time until an instant.
type speed struct {
	until    time.Duration
	progress float64
}

// forever is later than anything.
const forever = time.Duration(math.MaxInt64)

// after returns when work that is started at an instant is finished. Starts are in
// the order of time.
func (s *speeds) after(start, work time.Duration) time.Duration {
	for s.all[s.next].until <= start {
		s.next++
	}
	now := start
	for i := s.next; ; i++ {
		v := &s.all[i]
		if v.progress == 1 {
			if now+work <= v.until {
				return now + work
			}
			work -= v.until - now
		} else if v.progress > 0 {
			if takes := time.Duration(float64(work) / v.progress); takes <= v.until-now {
				return now + takes
			}
			work -= time.Duration(float64(v.until-now) * v.progress)
		}
		now = v.until
	}
}

// horizon is until when there are disturbances: queues that are never worked off
// end after the last request.
const horizon = 300 * time.Second

// newSpeeds returns those of a role.
func newSpeeds(r role, random *rand.Rand) speeds {
	var all []speed
	switch r {
	case disturbed:
		progress := [2]float64{1, 1.0 / disturbedBy}
		at, now := time.Duration(0), random.IntN(2)
		for at < horizon {
			at += max(1, time.Duration(float64(disturbance)*random.ExpFloat64()))
			all = append(all, speed{at, progress[now]})
			now = 1 - now
		}
	case stalling:
		at := time.Duration(random.Int64N(int64(stallEvery - stall)))
		for at < horizon {
			all = append(all, speed{at, 1}, speed{at + stall, 0})
			at += stallEvery
		}
	}
	return speeds{all: append(all, speed{forever, 1})}
}
