package httpcache

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// flight is a fetch that others may wait for, with the log of what has come of its body.
// The log is kept whole as long as it may be stored, and after that only as far as its
// readers need it.
type flight struct {
	key      string
	division string
	limit    int64       // of what is kept
	open     bool        // others may wait for it
	doomed   atomic.Bool // purged meanwhile: not to be stored

	mu      sync.Mutex
	wake    chan struct{} // closed and replaced at each change
	entry   *Entry        // once decided, if it may be used by others
	decided bool
	chunks  [][]byte
	base    int64 // where the first chunk begins in the body
	end     int64 // what has come
	whole   bool  // all of it is in chunks
	done    bool
	err     error
	flushed int64 // one more than up to where the origin wants it sent at once; zero if nowhere
	purged  []string
	readers []*logReader
	waiters int
	left    bool  // the client that began it has
	leftFor error // why it could not be written to
	given   bool  // up: nobody is there to read it
	cancel  context.CancelFunc
}

// logReader is a place in the log of a flight.
type logReader struct {
	f       *flight
	at      int64
	flushed int64
	leader  bool // is not cut off for being slow: the origin waits for it
	cut     bool
}

var (
	errTooSlow  = errors.New("httpcache: the reader is too slow for what is kept of the body")
	errNotWhole = errors.New("httpcache: the body is no longer kept")
	errWhole    = errors.New("httpcache: the body has ended")
)

// changed wakes all that wait. The caller holds mu.
func (f *flight) changed() {
	close(f.wake)
	f.wake = make(chan struct{})
}

// decide says that the headers are here. A nil entry means that nobody else may use them.
func (f *flight) decide(e *Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.decided {
		f.decided, f.entry = true, e
		f.changed()
	}
}

// await waits for the headers, and returns what others may use, or nil.
func (f *flight) await(ctx context.Context, most time.Duration) (*Entry, error) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	for {
		f.mu.Lock()
		entry, decided, wake := f.entry, f.decided || f.done, f.wake
		f.mu.Unlock()
		if decided {
			return entry, nil
		}
		select {
		case <-wake:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// reader returns a reader of the log from its beginning, or nil if that is gone.
func (f *flight) reader(leader bool) *logReader {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.base > 0 {
		return nil
	}
	r := &logReader{f: f, leader: leader}
	f.readers = append(f.readers, r)
	return r
}

// write appends to the log. It blocks while the leader is further behind than what is
// kept, until ctx ends.
func (f *flight) write(ctx context.Context, p []byte) error {
	f.mu.Lock()
	if f.left && f.waiters == 0 && f.leftFor != nil {
		err := f.leftFor
		f.mu.Unlock()
		return err
	}
	for len(p) > 0 {
		for f.end-f.base >= f.limit && !f.room() {
			wake := f.wake
			f.mu.Unlock()
			select {
			case <-wake:
			case <-ctx.Done():
				f.mu.Lock()
				defer f.mu.Unlock()
				if f.leftFor != nil {
					return f.leftFor
				}
				return context.Cause(ctx)
			}
			f.mu.Lock()
		}
		last := len(f.chunks) - 1
		if last < 0 || len(f.chunks[last]) == cap(f.chunks[last]) {
			size := chunkSize
			if f.end == 0 {
				size = max(min(len(p), chunkSize), 512)
			}
			f.chunks = append(f.chunks, make([]byte, 0, size))
			last++
		}
		n := min(cap(f.chunks[last])-len(f.chunks[last]), len(p))
		f.chunks[last] = append(f.chunks[last], p[:n]...)
		f.end += int64(n)
		p = p[n:]
	}
	if !f.whole {
		f.trim()
	}
	f.changed()
	f.mu.Unlock()
	return nil
}

// room gives up what all have read, and cuts off those who are too slow. It reports false
// if the leader is. The caller holds mu.
func (f *flight) room() bool {
	for _, r := range f.readers {
		r.cut = !r.leader && r.at < f.end-f.limit/2 // half of what is kept behind the origin
	}
	f.readers = slices.DeleteFunc(f.readers, func(r *logReader) bool { return r.cut })
	f.trim()
	f.changed()
	return f.end-f.base < f.limit
}

// trim gives up what all have read. The caller holds mu.
func (f *flight) trim() {
	least := f.end
	for _, r := range f.readers {
		least = min(least, r.at)
	}
	for len(f.chunks) > 0 && f.base+int64(len(f.chunks[0])) <= least {
		f.base += int64(len(f.chunks[0]))
		f.chunks[0] = nil
		f.chunks = f.chunks[1:]
		f.whole = false
	}
}

// finish says that the body has ended.
func (f *flight) finish(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.done {
		f.done, f.err = true, err
		f.changed()
	}
}

// next returns what follows in the log, and errWhole at its end. Nothing at all means that
// what was returned is to be sent at once. It waits until there is something, at most for
// a time without progress; zero means without end.
func (r *logReader) next(ctx context.Context, patience time.Duration) ([]byte, error) {
	var timeout <-chan time.Time
	for {
		piece, wake, err := r.look()
		if wake == nil {
			return piece, err
		}
		if timeout == nil && patience > 0 {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-wake:
		case <-timeout:
			return nil, errStalled
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// look returns what there is, or what to wait for.
func (r *logReader) look() (piece []byte, wake <-chan struct{}, err error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.cut:
		return nil, nil, errTooSlow
	case r.at < f.base:
		return nil, nil, errNotWhole
	case r.at < f.end:
		at := f.base
		for _, chunk := range f.chunks {
			if r.at < at+int64(len(chunk)) {
				piece = chunk[r.at-at:]
				break
			}
			at += int64(len(chunk))
		}
		r.at += int64(len(piece))
		if f.end-f.base >= f.limit {
			f.changed() // the origin may wait for this reader
		}
		return piece, nil, nil
	case f.flushed > r.flushed:
		r.flushed = f.flushed
		return nil, nil, nil
	case f.done && f.err != nil:
		return nil, nil, f.err
	case f.done:
		return nil, nil, errWhole
	}
	return nil, f.wake, nil
}

var errStalled = errors.New("httpcache: the fetch of another request makes no progress")

// close gives up the place of a reader.
func (r *logReader) close() { r.leave(nil) }

// leave gives it up for an error, which the origin gets if nobody else is there.
func (r *logReader) leave(err error) {
	f := r.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.leader {
		f.leftFor = err
	}
	f.readers = slices.DeleteFunc(f.readers, func(one *logReader) bool { return one == r })
	if r.leader {
		f.left = true
	} else {
		f.waiters--
	}
	f.deserted()
	f.changed()
}

// deserted ends a fetch that nobody is there to read. The caller holds mu.
func (f *flight) deserted() bool {
	if !f.left || f.waiters > 0 {
		return false
	}
	if f.given = true; f.cancel != nil {
		f.cancel()
	}
	return true
}

// flights are the fetches in progress, by key.
type flights struct {
	mu  sync.Mutex
	all map[string][]*flight // guarded by mu
	// lonely are keys whose responses are nobody else's, until an instant: requests for
	// them do not wait for one another (hit-for-miss).
	lonely map[string]time.Time // guarded by mu
}

const (
	maxLonely   = 4096
	lonelyFor   = 2 * time.Second
	maxPurgedIn = 64 // tags purged during a flight that are remembered
)

// join returns the flight that an exchange can wait for, or one that it has begun itself.
func (fs *flights) join(x *exchange, waits bool) (f *flight, leads bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if until, ok := fs.lonely[x.key]; ok {
		if x.asked.Before(until) {
			waits = false
		} else {
			delete(fs.lonely, x.key)
		}
	}
	if waits {
		for _, f := range fs.all[x.key] {
			if f.join(x.division, x.c.o.Collapse.MaxWaiters) {
				return f, false
			}
		}
	}
	f = &flight{key: x.key, division: x.division, limit: x.c.o.MaxObject, open: x.opens(), wake: make(chan struct{}), whole: true}
	if fs.all == nil {
		fs.all, fs.lonely = make(map[string][]*flight), make(map[string]time.Time)
	}
	fs.all[x.key] = append(fs.all[x.key], f)
	return f, true
}

// join makes one more wait for a flight, if it can be waited for.
func (f *flight) join(division string, most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open || f.division != division || f.base > 0 || f.done || f.given || f.doomed.Load() || f.waiters >= most {
		return false
	}
	f.waiters++
	return true
}

// endedBy reports whether a purge has ended what came of a flight: all of it, or a tag of
// the entry that was purged before the entry had it.
func (f *flight) endedBy(e *Entry) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.doomed.Load() || slices.ContainsFunc(e.tags, func(t tagged) bool { return slices.Contains(f.purged, t.name) })
}

// part ends the wait of a request that did not get a reader.
func (f *flight) part() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiters--
	f.deserted()
}

// land takes a flight out.
func (fs *flights) land(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	left := slices.DeleteFunc(fs.all[f.key], func(one *flight) bool { return one == f })
	if len(left) == 0 {
		delete(fs.all, f.key)
	} else {
		fs.all[f.key] = left
	}
}

// alone remembers that the responses of a key are nobody else's.
func (fs *flights) alone(key string, now time.Time) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.lonely) >= maxLonely {
		for old, until := range fs.lonely {
			if !now.Before(until) || len(fs.lonely) >= maxLonely {
				delete(fs.lonely, old)
			}
			if len(fs.lonely) < maxLonely/2 {
				break
			}
		}
	}
	fs.lonely[key] = now.Add(lonelyFor)
}

// doom keeps fetches in progress from being stored, for which match reports true.
func (fs *flights) doom(match func(*flight) bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, all := range fs.all {
		for _, f := range all {
			f.mu.Lock()
			if match(f) {
				f.doomed.Store(true)
			}
			f.mu.Unlock()
		}
	}
}

// doomKey does so for one key, but for one fetch.
func (fs *flights) doomKey(key string, but *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.all[key] {
		if f != but {
			f.doomed.Store(true)
		}
	}
}
