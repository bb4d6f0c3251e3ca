package httpx

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// strict is a writer of which nobody may make use once it was given back.
type strict struct {
	*fake
	back    atomic.Bool
	inside  atomic.Int32
	misused atomic.Int32
}

func (s *strict) use() func() {
	s.inside.Add(1)
	if s.back.Load() {
		s.misused.Add(1)
	}
	return func() { s.inside.Add(-1) }
}

func (s *strict) Header() http.Header         { defer s.use()(); return s.fake.Header() }
func (s *strict) WriteHeader(int)             { defer s.use()() }
func (s *strict) Write(p []byte) (int, error) { defer s.use()(); return len(p), nil }
func (s *strict) FlushError() error           { defer s.use()(); return nil }
func (s *strict) SetReadDeadline(time.Time) error {
	defer s.use()()
	return nil
}
func (s *strict) SetWriteDeadline(time.Time) error {
	defer s.use()()
	return nil
}

// Everything at once, for the race detector: after Revoke or End the writer below is
// not used, whatever several goroutines of a handler do.
func TestGuardStress(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		below := &strict{fake: newFake()}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 1<<12)))
		g := NewGuard(below, r, later)
		w, body := g.Writer(), g.Body()
		ctx, stop := context.WithCancel(t.Context())
		var handler sync.WaitGroup
		handler.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				w.Header().Set("X-Count", "1")
				switch i % 4 {
				case 0:
					w.WriteHeader(http.StatusEarlyHints)
				case 1:
					_, _ = w.Write([]byte("part"))
				case 2:
					_ = http.NewResponseController(w).Flush()
				case 3:
					_, _ = io.Copy(w, reader("part"))
				}
			}
		})
		handler.Go(func() {
			for ctx.Err() == nil {
				_, _ = body.Read(make([]byte, 1))
			}
		})
		for range rng.IntN(200) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		}
		if rng.IntN(2) == 0 {
			g.Revoke()
			clear(below.header)
			below.header.Set("X-Answer", "1")
		} else {
			g.End(false)
		}
		below.back.Store(true)
		if n := below.inside.Load(); n != 0 {
			t.Errorf("round %d: %d calls are in progress", round, n)
		}
		for range 20 {
			_, _ = w.Write([]byte("late"))
		}
		stop()
		handler.Wait()
		if n := below.misused.Load(); n != 0 {
			t.Errorf("round %d: %d calls after the writer was given back", round, n)
		}
	}
}
