package replicate

import "slices"

// member is what is known of one server.
type member struct {
	up     bool  // it answers
	asked  int64 // when the probe was sent that Report answers
	banned int64 // until then it is not used, though it may answer probes
	report Report
	// certified is the instant before which everything that was committed is here.
	certified int64
	// incarnation changes when what can be read here may have gone back.
	incarnation uint32
}

// state is what is known of all servers: the pure core of the cluster, which reads no
// clock and knows no connection. It is not safe for concurrent use.
type state struct {
	members []member
	primary int    // the index of the server that takes writes, -1 if none is known
	system  uint64 // that of the cluster; zero if not known
	epoch   uint32 // the highest that was seen
	// forked is the first position that was seen of a primary of this epoch: whatever
	// survived of the epochs before is at or below it.
	forked Position
	ring   ring
}

// newState returns the state before the first probe. The first server is presumed to
// be the primary, so that a program works before it knows anything.
func newState(n int) state {
	return state{members: make([]member, n), primary: 0}
}

// observe takes in what a server answered to a probe that was sent at an instant.
func (s *state) observe(i int, asked int64, r Report) {
	m := &s.members[i]
	if m.asked > asked {
		return // overtaken by a later probe
	}
	if s.system != 0 && r.System != 0 && s.system != r.System {
		s.lose(i)
		m.report = Report{System: r.System} // not one of this cluster
		return
	}
	if s.system == 0 && (r.Role == Primary || r.Epoch > 0) {
		s.system = r.System
	}
	if r.Epoch > s.epoch {
		s.epoch, s.forked = r.Epoch, Position{}
		s.ring.clear()
		for k := range s.members {
			s.members[k].certified = 0
		}
	}
	if old := &m.report; old.Role != UnknownRole && (old.Epoch != r.Epoch || !containsAll(r.Applied, old.Applied)) {
		m.incarnation++
		m.certified = 0
	}
	m.up, m.asked, m.report = true, asked, r
	s.elect(i)
	switch {
	case i == s.primary:
		if r.Role == Primary {
			s.ring.add(asked, r.Applied)
			if s.forked.IsZero() && len(r.Applied) > 0 {
				s.forked = r.Applied[0]
			}
		}
		m.certified = 0
	default:
		m.certified = max(m.certified, s.ring.certified(r.Applied))
	}
}

// claims reports whether a server says that it is the primary, and is not behind.
func (s *state) claims(i int) bool {
	m := &s.members[i]
	return m.up && m.report.Role == Primary && m.report.Epoch == s.epoch
}

// elect decides who the primary is after server i has reported. The one that is stays
// as long as it claims to be: where servers tell no epoch, a primary that comes back
// after another was promoted must not win by claiming louder.
func (s *state) elect(i int) {
	if s.primary >= 0 && s.claims(s.primary) {
		return
	}
	switch {
	case s.claims(i):
		s.become(i)
	case s.primary == i:
		s.primary = -1
		for k := range s.members {
			if s.claims(k) {
				s.become(k)
				return
			}
		}
	case s.primary >= 0 && s.members[s.primary].up && s.members[s.primary].report.Epoch < s.epoch:
		s.primary = -1 // it has been left behind
	}
}

func (s *state) become(i int) {
	if i != s.primary {
		s.primary = i
		s.ring.clear()
		for k := range s.members {
			s.members[k].certified = 0
		}
	}
}

// lose says that a server does not answer. What is known of it is kept for when it
// does again. A primary remains the one that is asked for, until another claims to be.
func (s *state) lose(i int) { s.members[i].up = false }

// ban keeps a server from being used until an instant.
func (s *state) ban(i int, until int64) { s.members[i].banned = max(s.members[i].banned, until) }

// usable reports whether reads may go to a server: its position is known, and it is not
// of a history that has ended.
func (s *state) usable(i int, now int64) bool {
	m := &s.members[i]
	return m.up && m.banned <= now && m.report.Role != UnknownRole && m.report.Epoch == s.epoch &&
		(s.system == 0 || m.report.System == 0 || m.report.System == s.system)
}

// translate returns the position that a server of the present epoch must have applied
// to have what survived up to p, and whether p may have been lost. It returns false if
// that is not known.
func (s *state) translate(p Position) (need Position, lost, ok bool) {
	if s.epoch == 0 || p.IsZero() || p.Timeline == s.epoch {
		return p, false, true
	}
	if p.Timeline > s.epoch || s.forked.IsZero() {
		return p, false, false
	}
	return s.forked, p.Offset > s.forked.Offset, true
}

// clone returns a copy that does not change.
func (s *state) clone() state {
	c := *s
	c.members = slices.Clone(s.members)
	c.ring = ring{}
	return c
}
