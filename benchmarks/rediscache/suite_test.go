package rediscache

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/uprung/uprung/benchmarks/internal/bench"
	"github.com/uprung/uprung/internal/testserver"
)

// Every implementation gets what was set, which measure checks.
func TestEntrants(t *testing.T) {
	for _, one := range contest().Impls {
		s, err := one.Open(&bench.Env{})
		if errors.Is(err, testserver.ErrMissing) && os.Getenv(testserver.RequireEnv) != "1" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatalf("%s: %v", one.Name, err)
		}
		defer s.Close()
		r := &bench.Round{Env: &bench.Env{}, Procs: 2, Duration: time.Millisecond}
		if _, err := measure(s, r, []string{"value-1", "value-2"}, value()); err != nil {
			t.Errorf("%s: %v", one.Name, err)
		}
		if _, err := measure(s, r, []string{"value-1"}, []byte("other")); err == nil {
			t.Errorf("%s: a wrong value passes", one.Name)
		}
	}
}
