//go:build linux

package fleet

import (
	"reflect"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	t.Parallel()
	s := Shape{Lasts: time.Minute, Clients: 10, Rate: 100, Work: 10 * time.Millisecond}
	for seed := range uint64(20) {
		p := s.Plan(seed)
		if !reflect.DeepEqual(p, s.Plan(seed)) {
			t.Errorf("seed %d: two plans differ", seed)
		}
		if n := len(p.Arrivals); n < 5600 || n > 6400 {
			t.Errorf("seed %d: %d requests in a minute, want 6000 or so", seed, n)
		}
		most := 0
		for i, f := range p.Faults {
			if f.Backend < Untouched || f.Backend >= Backends || f.From < time.Second || f.To <= f.From || f.To > s.Lasts-time.Second {
				t.Errorf("seed %d: fault %+v", seed, f)
			}
			at := 0
			for j, other := range p.Faults {
				if other.From > f.From || other.To <= f.From {
					continue
				}
				at++
				if i != j && other.Backend == f.Backend {
					t.Errorf("seed %d: a server has the faults %+v and %+v at a time", seed, f, other)
				}
			}
			most = max(most, at)
		}
		if most != AtATime {
			t.Errorf("seed %d: %d faults at a time at most, want %d", seed, most, AtATime)
		}
	}
}
