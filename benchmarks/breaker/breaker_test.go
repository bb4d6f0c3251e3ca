package breaker

import (
	"testing"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	ours "github.com/uprung/uprung/breaker"
)

// Every implementation does what the case is about, which setUp and Loop check.
func TestEntrants(t *testing.T) {
	for name, entrants := range map[string][]entrant{
		"closed": closed(ours.Options{SlowCall: time.Second}), "refusing": refusing(), "keyed": keyed(),
	} {
		for _, one := range entrants {
			s, err := setUp(one, 10)
			if err != nil {
				t.Errorf("%s: %s: %v", name, one.name, err)
				continue
			}
			if _, err := measure(s, &bench.Round{Env: &bench.Env{}, Procs: 2, Duration: time.Millisecond}); err != nil {
				t.Errorf("%s: %s: %v", name, one.name, err)
			}
		}
	}
}

func TestTransports(t *testing.T) {
	for _, text := range []string{"", "text"} {
		for _, one := range wrappers {
			rt, err := one.wrap(memory{text})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := exchange(rt, &bench.Round{Env: &bench.Env{}, Procs: 1, Duration: time.Millisecond}, text); err != nil {
				t.Errorf("%s: %q: %v", one.name, text, err)
			}
			if _, err := exchange(rt, &bench.Round{Env: &bench.Env{}, Procs: 1, Duration: time.Millisecond}, text+"x"); err == nil {
				t.Errorf("%s: an answer that is too short passes", one.name)
			}
		}
	}
}
