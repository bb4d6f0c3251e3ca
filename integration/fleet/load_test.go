//go:build linux

package fleet

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// striker notes when it is told to strike.
type striker struct {
	start time.Time

	mu           sync.Mutex
	begun, ended map[Fault]time.Duration // guarded by mu
}

func (s *striker) Strike(f Fault, begins bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.ended
	if begins {
		at = s.begun
	}
	at[f] = time.Since(s.start)
	return nil
}

// Requests are sent when they are due though others have not ended, and errors and
// times are what clients have seen.
func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{}
		for i := range 100 {
			p.Arrivals = append(p.Arrivals, Arrival{At: time.Duration(i) * time.Millisecond, Work: time.Duration(i)})
		}
		brief := Fault{Kind: Stalled, From: 10 * time.Millisecond, To: 20 * time.Millisecond}
		lasting := Fault{Kind: Killed, From: 15 * time.Millisecond}
		p.Faults = []Fault{brief, lasting}
		s := &striker{start: time.Now(), begun: map[Fault]time.Duration{}, ended: map[Fault]time.Duration{}}
		failed := errors.New("failed")
		r, err := p.Run(s, Patience, func(ctx context.Context, _ int, work time.Duration) error {
			switch {
			case work < 10:
				return failed
			case work >= 98:
				<-ctx.Done()
				return ctx.Err()
			}
			time.Sleep(time.Second)
			return nil
		})
		if err != nil || r.Sent != 100 || len(r.Errors) != 12 || r.ErrorShare() != 0.12 || r.Late != 0 {
			t.Errorf("%v, error %v, want 100 requests and 12 errors", r, err)
		}
		if r.P50 != time.Second || r.P99 != Patience {
			t.Errorf("%v, want p50 %v and p99 %v", r, time.Second, Patience)
		}
		if want := "\n10 times: failed\n2 times: context deadline exceeded"; r.Reasons() != want {
			t.Errorf("reasons are %q, want %q", r.Reasons(), want)
		}
		if s.begun[brief] != brief.From || s.ended[brief] != brief.To || s.begun[lasting] != lasting.From || len(s.ended) != 1 {
			t.Errorf("faults begin at %v and end at %v", s.begun, s.ended)
		}
	})
}
