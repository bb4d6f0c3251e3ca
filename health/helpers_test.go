package health

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("down")

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// fullModels reports whether models run at full length.
func fullModels() bool { return os.Getenv("UPRUNG_FULL_MODELS") == "1" }

// seeded returns random numbers whose seed is printed and can be set.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("UPRUNG_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("UPRUNG_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// newMonitor returns a monitor of targets whose IDs and addresses are the same.
func newMonitor(t testing.TB, p Prober, o *MonitorOptions, ids ...string) *Monitor {
	t.Helper()
	m, err := NewMonitor(p, o)
	if err != nil {
		t.Fatal(err)
	}
	setTargets(t, m, ids...)
	return m
}

func setTargets(t testing.TB, m *Monitor, ids ...string) {
	t.Helper()
	var targets []Target
	for _, id := range ids {
		targets = append(targets, Target{ID: id, Addr: id})
	}
	if err := m.SetTargets(targets); err != nil {
		t.Fatal(err)
	}
}

// running runs a monitor until stop is called, or the test ends.
func running(t testing.TB, m *Monitor) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := m.Run(ctx); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(stop)
	return stop
}

// servers are what a fake prober probes: an address is up unless it is set down.
type servers struct {
	mu     sync.Mutex
	down   map[string]bool
	probes map[string][]time.Time
}

func (s *servers) set(addr string, up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == nil {
		s.down = make(map[string]bool)
	}
	s.down[addr] = !up
}

// times returns when an address was probed.
func (s *servers) times(addr string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes[addr]
}

func (s *servers) Probe(_ context.Context, addr string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probes == nil {
		s.probes = make(map[string][]time.Time)
	}
	s.probes[addr] = append(s.probes[addr], time.Now())
	if s.down[addr] {
		return errDown
	}
	return nil
}

// newRegistry returns a registry, or ends the test.
func newRegistry(t testing.TB, o *RegistryOptions, checks ...Check) *Registry {
	t.Helper()
	r, err := NewRegistry(checks, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// passing and failing are what checks probe.
func passing(context.Context) error { return nil }
func failing(context.Context) error { return errDown }

// goexit ends the goroutine, as a failed assertion of a test does.
func goexit() { runtime.Goexit() }
