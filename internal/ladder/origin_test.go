package ladder

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewOriginNamesEveryBadArgument(t *testing.T) {
	t.Parallel()
	_, err := NewOrigin(0, -time.Second, -1)
	want := "ladder: workers is 0, want > 0\nladder: service is -1s, want > 0\nladder: queue is -1, want >= 0"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// slowOrigin is a queue and workers, moved on nanosecond by nanosecond as it were:
// from one end of work to the next.
type slowOrigin struct {
	workers, queue int
	service        time.Duration
	busy           []time.Time // ends of the work in progress
	waiting        []int       // numbers of the requests in the queue
	done           map[int]time.Time
}

func (s *slowOrigin) arrive(id int, now time.Time) bool {
	for {
		first := -1
		for i, end := range s.busy {
			if !end.After(now) && (first < 0 || end.Before(s.busy[first])) {
				first = i
			}
		}
		if first < 0 {
			break
		}
		end := s.busy[first]
		s.busy = append(s.busy[:first], s.busy[first+1:]...)
		if len(s.waiting) > 0 {
			s.begin(s.waiting[0], end)
			s.waiting = s.waiting[1:]
		}
	}
	switch {
	case len(s.busy) < s.workers:
		s.begin(id, now)
	case len(s.waiting) < s.queue:
		s.waiting = append(s.waiting, id)
	default:
		return false
	}
	return true
}

func (s *slowOrigin) begin(id int, at time.Time) {
	s.busy = append(s.busy, at.Add(s.service))
	s.done[id] = at.Add(s.service)
}

func TestOriginModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		workers, queue := 1+rng.IntN(5), rng.IntN(8)
		const service = 10 * time.Millisecond
		origin, err := NewOrigin(workers, service, queue)
		if err != nil {
			t.Fatal(err)
		}
		model := &slowOrigin{workers: workers, queue: queue, service: service, done: map[int]time.Time{}}
		now := time.Unix(0, 0)
		got := map[int]time.Time{}
		for id := range 500 {
			if rng.IntN(4) > 0 { // several at one instant, and often at the end of another's work
				now = now.Add(time.Duration(rng.IntN(6)) * time.Millisecond)
			}
			done, ok := origin.admit(now)
			if want := model.arrive(id, now); ok != want {
				t.Fatalf("seed %d, request %d at %v: admitted is %v, want %v", seed, id, now, ok, want)
			}
			if ok {
				got[id] = done
			}
		}
		model.arrive(-1, now.Add(time.Hour))
		delete(model.done, -1)
		for id, want := range model.done {
			if !got[id].Equal(want) {
				t.Fatalf("seed %d, request %d: done at %v, want %v", seed, id, got[id], want)
			}
		}
		if len(got) != len(model.done) {
			t.Fatalf("seed %d: %d done, want %d", seed, len(got), len(model.done))
		}
	}
}

func TestOriginServes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		origin, err := NewOrigin(1, time.Second, 1)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		type answer struct {
			code int
			at   time.Duration
		}
		answers := make(chan answer, 3)
		for range 3 {
			go func() {
				w := httptest.NewRecorder()
				origin.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
				answers <- answer{w.Code, time.Since(start)}
			}()
			synctest.Wait()
		}
		for _, want := range []answer{{503, 0}, {200, time.Second}, {200, 2 * time.Second}} {
			if got := <-answers; got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		// A client that leaves is let go at once.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		before := time.Now()
		origin.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
		if got := time.Since(before); got != time.Millisecond {
			t.Errorf("left after %v, want 1ms", got)
		}
	})
}

// steppedOrigin works millisecond by millisecond, except while it stalls.
type steppedOrigin struct {
	stalls  func(ms int) bool
	service int
	left    []int // of the work of each worker, in milliseconds
	serves  []int // number of the request that each worker serves
	waiting []int // numbers of the requests in the queue
	done    map[int]int
}

// step gives waiting requests to free workers and works from ms to ms+1.
func (s *steppedOrigin) step(ms int) {
	for i := range s.left {
		if s.left[i] == 0 && len(s.waiting) > 0 {
			s.left[i], s.serves[i] = s.service, s.waiting[0]
			s.waiting = s.waiting[1:]
		}
	}
	if s.stalls(ms) {
		return
	}
	for i := range s.left {
		if s.left[i] == 0 {
			continue
		}
		if s.left[i]--; s.left[i] == 0 {
			s.done[s.serves[i]] = ms + 1
		}
	}
}

func TestOriginStallModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		workers, service := 1+rng.IntN(3), 1+rng.IntN(9)
		period := 2 + rng.IntN(40)
		stalled := 1 + rng.IntN(period-1)
		const unit = time.Millisecond
		origin, err := NewOrigin(workers, time.Duration(service)*unit, 1e6)
		if err != nil {
			t.Fatal(err)
		}
		if err := origin.Stall(time.Duration(stalled)*unit, time.Duration(period)*unit); err != nil {
			t.Fatal(err)
		}
		model := &steppedOrigin{
			stalls:  func(ms int) bool { return ms%period >= period-stalled },
			service: service,
			left:    make([]int, workers),
			serves:  make([]int, workers),
			done:    map[int]int{},
		}
		got := map[int]time.Time{}
		for ms := 0; ms < 500 || len(model.done) < len(got); ms++ {
			if ms < 500 && rng.IntN(6) == 0 {
				id := len(got)
				done, ok := origin.admit(origin.began.Add(time.Duration(ms) * unit))
				if !ok {
					t.Fatalf("seed %d, request %d: not admitted", seed, id)
				}
				got[id] = done
				model.waiting = append(model.waiting, id)
			}
			model.step(ms)
		}
		for id, want := range model.done {
			if at := got[id].Sub(origin.began); at != time.Duration(want)*unit {
				t.Fatalf("seed %d (%d workers, %d ms, %d of every %d ms), request %d: done after %v, want %d ms",
					seed, workers, service, stalled, period, id, at, want)
			}
		}
	}
}

func TestStallOutOfRange(t *testing.T) {
	t.Parallel()
	origin, err := NewOrigin(1, time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, stalled := range []time.Duration{0, -1, time.Second} {
		if err := origin.Stall(stalled, time.Second); err == nil {
			t.Errorf("a stall of %v in every second is accepted", stalled)
		}
	}
}
