package ladder

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Origin is a server of limited capacity: a number of workers, each of which
// serves one request at a time and takes equally long for each, and a queue of
// limited length before them. It answers 200 when the work is done, and 503 at
// once when the queue is full. Work that has been queued is done even if the
// client has left. It is safe for concurrent use; use [NewOrigin].
//
// The work is to sleep, and the instants at which it begins and ends are computed:
// a machine that wakes sleepers late delays answers, and leaves the capacity as it
// is.
type Origin struct {
	service time.Duration
	queue   int

	began           time.Time
	stalled, period time.Duration // zero if it never stalls

	mu sync.Mutex
	// When each worker has done all that it was given, by a clock that stands while the
	// origin stalls; guarded by mu.
	free []time.Time
}

// NewOrigin returns an origin that serves workers/service requests per second and
// lets queue requests wait.
func NewOrigin(workers int, service time.Duration, queue int) (*Origin, error) {
	var errs []error
	if workers <= 0 {
		errs = append(errs, fmt.Errorf("ladder: workers is %d, want > 0", workers))
	}
	if service <= 0 {
		errs = append(errs, fmt.Errorf("ladder: service is %v, want > 0", service))
	}
	if queue < 0 {
		errs = append(errs, fmt.Errorf("ladder: queue is %d, want >= 0", queue))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Origin{service: service, queue: queue, free: make([]time.Time, workers)}, nil
}

// Stall makes the origin stand still at the end of each period, the first of which
// begins now, for as long as stalled: requests are taken, no work is done on them or
// on those before, and then it goes on. Call it before the first request.
func (o *Origin) Stall(stalled, period time.Duration) error {
	if stalled <= 0 || stalled >= period {
		return fmt.Errorf("ladder: stalled is %v, want > 0 and less than the period, %v", stalled, period)
	}
	o.began, o.stalled, o.period = time.Now(), stalled, period
	return nil
}

// worked returns what the clock of the work shows at an instant.
func (o *Origin) worked(now time.Time) time.Time {
	if o.stalled == 0 {
		return now
	}
	since := now.Sub(o.began)
	stalls := int64(since / o.period) // that are over
	standing := max(0, since%o.period-(o.period-o.stalled))
	return now.Add(-time.Duration(stalls)*o.stalled - standing)
}

// instant returns the first instant at which the clock of the work shows this.
func (o *Origin) instant(worked time.Time) time.Time {
	if o.stalled == 0 {
		return worked
	}
	since := worked.Sub(o.began)
	if since <= 0 {
		return worked
	}
	stalls := int64((since - 1) / (o.period - o.stalled)) // before it
	return worked.Add(time.Duration(stalls) * o.stalled)
}

// ServeHTTP does the work of one request, which may meet [Faults] before.
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if faults := faultsOf(r.Context()); faults != nil {
		faults(http.HandlerFunc(o.serve)).ServeHTTP(w, r)
		return
	}
	o.serve(w, r)
}

func (o *Origin) serve(w http.ResponseWriter, r *http.Request) {
	done, ok := o.admit(time.Now())
	if !ok {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the queue is full", http.StatusServiceUnavailable)
		return
	}
	work := time.NewTimer(time.Until(done))
	defer work.Stop()
	select {
	case <-work.C:
		_, _ = w.Write([]byte("done\n")) // fails only if the client has left
	case <-r.Context().Done():
	}
}

// admit gives a request that arrives at now to the worker that is free first, and
// returns when the work will be done. It returns false if the queue is full.
func (o *Origin) admit(now time.Time) (done time.Time, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now = o.worked(now)
	first, waiting := 0, 0
	for i, free := range o.free {
		if free.Before(o.free[first]) {
			first = i
		}
		if busy := free.Sub(now); busy > 0 {
			// The worker ends one request every service, the last at free. All but the
			// one in progress are still waiting.
			waiting += int((busy - 1) / o.service)
		}
	}
	start := o.free[first]
	if start.After(now) {
		if waiting >= o.queue {
			return time.Time{}, false
		}
	} else {
		start = now
	}
	done = start.Add(o.service)
	o.free[first] = done
	return o.instant(done), true
}
