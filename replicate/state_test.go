package replicate

import (
	"testing"
	"time"
)

func at(offset uint64, epoch uint32, role Role) Report {
	p := Position{epoch, offset}
	r := Report{System: 1, Role: role, Epoch: epoch, Applied: []Position{p}}
	if role == Primary {
		r.Head = p
	}
	return r
}

func TestElection(t *testing.T) {
	t.Parallel()
	type row struct {
		node    int
		lost    bool
		report  Report
		primary int
	}
	for name, rows := range map[string][]row{
		"the first is presumed": {
			{0, false, at(5, 1, Primary), 0},
		},
		"another says that it is": {
			{1, false, at(5, 1, Primary), 1},
			{0, false, at(5, 1, Replica), 1},
		},
		"nobody is": {
			{0, false, at(5, 1, Replica), -1},
			{1, false, at(5, 1, Replica), -1},
			{2, false, at(5, 1, Primary), 2},
		},
		"a promotion wins by its epoch": {
			{0, false, at(5, 1, Primary), 0},
			{1, false, at(6, 2, Primary), 1},
			{0, false, at(9, 1, Primary), 1},
		},
		"the replica of a promotion is seen first": {
			{0, false, at(5, 1, Primary), 0},
			{2, false, at(5, 2, Replica), -1},
			{1, false, at(6, 2, Primary), 1},
		},
		"without epochs the first stays": {
			{0, false, at(5, 0, Primary), 0},
			{1, false, at(9, 0, Primary), 0},
		},
		"without epochs another takes the place of a lost one, and keeps it": {
			{0, false, at(5, 0, Primary), 0},
			{0, true, Report{}, 0},
			{1, false, at(6, 0, Primary), 1},
			{0, false, at(9, 0, Primary), 1},
		},
		"a lost primary is asked for until there is another": {
			{0, false, at(5, 1, Primary), 0},
			{0, true, Report{}, 0},
			{1, false, at(5, 1, Replica), 0},
		},
		"another system is none of ours": {
			{0, false, at(5, 1, Primary), 0},
			{1, false, Report{System: 2, Role: Primary, Epoch: 9, Applied: []Position{{9, 99}}}, 0},
		},
	} {
		s := newState(3)
		for i, r := range rows {
			if r.lost {
				s.lose(r.node)
			} else {
				s.observe(r.node, int64(i+1), r.report)
			}
			if s.primary != r.primary {
				t.Errorf("%s: after row %d the primary is %d, want %d", name, i, s.primary, r.primary)
			}
		}
	}
}

func TestTrap7OldPrimaryIsFenced(t *testing.T) {
	t.Parallel()
	s := newState(3)
	s.observe(0, 1, at(50, 1, Primary))
	s.observe(1, 2, at(50, 1, Replica))
	s.lose(0)
	s.observe(1, 3, at(60, 2, Primary))
	s.observe(0, 4, at(90, 1, Primary)) // it has gone on alone
	if s.primary != 1 || s.usable(0, 4) || s.claims(0) {
		t.Errorf("primary is %d, the old one usable %v", s.primary, s.usable(0, 4))
	}
	// What was promised of the old timeline is what the new primary began with; what was
	// beyond is lost.
	for _, row := range []struct {
		p, need  Position
		lost, ok bool
	}{
		{Position{1, 40}, Position{2, 60}, false, true},
		{Position{1, 90}, Position{2, 60}, true, true},
		{Position{2, 99}, Position{2, 99}, false, true},
		{Position{3, 1}, Position{3, 1}, false, false},
		{Position{}, Position{}, false, true},
	} {
		if need, lost, ok := s.translate(row.p); need != row.need || lost != row.lost || ok != row.ok {
			t.Errorf("translate(%v) = %v, %v, %v; want %v, %v, %v", row.p, need, lost, ok, row.need, row.lost, row.ok)
		}
	}
}

func TestTrap4And5StalenessIsOfOneClock(t *testing.T) {
	t.Parallel()
	s := newState(2)
	second := int64(time.Second)
	s.observe(0, 1*second, at(10, 1, Primary))
	s.observe(1, 1*second+1, at(10, 1, Replica))
	// Nothing is written for an hour: the replica is as fresh as the last question.
	s.observe(0, 3600*second, at(10, 1, Primary))
	s.observe(1, 3600*second+1, at(10, 1, Replica))
	if got := s.members[1].certified; got != 3600*second {
		t.Errorf("idle: certified at %d, want %d", got, 3600*second)
	}
	// It is cut off: it has replayed all that it has received, and grows stale.
	s.observe(0, 3601*second, at(20, 1, Primary))
	s.observe(1, 3601*second+1, at(10, 1, Replica))
	s.observe(0, 3700*second, at(30, 1, Primary))
	s.observe(1, 3700*second+1, at(10, 1, Replica))
	if got := s.members[1].certified; got != 3600*second {
		t.Errorf("cut off: certified at %d, want %d", got, 3600*second)
	}
	s.observe(1, 3700*second+2, at(25, 1, Replica))
	if got := s.members[1].certified; got != 3601*second {
		t.Errorf("catching up: certified at %d, want %d", got, 3601*second)
	}
}

func TestTrap19UnknownIsNotEligible(t *testing.T) {
	t.Parallel()
	s := newState(2)
	if s.usable(0, 1) || s.usable(1, 1) {
		t.Error("a server that nobody has asked is usable")
	}
	s.observe(1, 1, Report{System: 1, Epoch: 1})
	if s.usable(1, 2) {
		t.Error("a server that does not say what it is, is usable")
	}
}

func TestRingIsBoundedAndCoversAllTime(t *testing.T) {
	t.Parallel()
	var r ring
	for i := range int64(100_000) {
		r.add(i+1, []Position{{1, uint64(i + 1)}})
	}
	if len(r.samples) > maxSamples {
		t.Errorf("ring has %d samples, want at most %d", len(r.samples), maxSamples)
	}
	for _, applied := range []uint64{100_000, 99_990, 50_000, 100} {
		got := r.certified([]Position{{1, applied}})
		if got > int64(applied) {
			t.Errorf("a replica at %d is certified to %d, which it does not have", applied, got)
		}
		if applied >= 99_990 && got < int64(applied)-2 {
			t.Errorf("a replica at %d is certified to %d only", applied, got)
		}
	}
	if got := r.certified([]Position{{2, 100_000}}); got != 0 {
		t.Errorf("a replica of another timeline is certified to %d", got)
	}
}

func TestIncarnation(t *testing.T) {
	t.Parallel()
	s := newState(2)
	s.observe(1, 1, at(10, 1, Replica))
	s.observe(1, 2, at(20, 1, Replica))
	before := s.members[1].incarnation
	s.observe(1, 3, at(15, 1, Replica))
	if s.members[1].incarnation == before {
		t.Error("a server that has gone back is the same")
	}
	if s.observe(1, 2, at(99, 1, Replica)); s.members[1].report.Applied[0].Offset != 15 {
		t.Error("an answer that was overtaken is believed")
	}
}
