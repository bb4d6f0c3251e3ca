package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferBytes is how much a stream holds, about what Linux gives to a socket.
const bufferBytes = 64 << 10

// stream is one direction of a connection: a bounded buffer with an end for the
// reader and one for the writer.
//
// Whoever waits does so on changed, never for mu: waiting for a mutex would not
// be durable blocking in a synctest bubble.
type stream struct {
	mu      sync.Mutex
	changed sync.Cond // anything below has changed; uses mu

	// All of these are guarded by mu.
	buf      []byte // buf[next:] is written and not yet read
	next     int
	finished bool // the writer will send no more
	writing  bool // a write is in progress; another one waits for its turn
	reader   end
	writer   end
}

// end is the state of one end of a stream.
type end struct {
	closed   bool
	deadline time.Time
	timer    *time.Timer // wakes those who wait when deadline has come
}

// failed returns the error of any call at this end: it is closed or too late.
func (e *end) failed() error {
	switch {
	case e.closed:
		return net.ErrClosed
	case !e.deadline.IsZero() && !time.Now().Before(e.deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (e *end) stopTimer() {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
}

func newStream() *stream {
	s := &stream{}
	s.changed.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.reader.failed(); err != nil {
			return 0, err
		}
		switch {
		case len(p) == 0:
			return 0, nil
		case s.next < len(s.buf):
			n := copy(p, s.buf[s.next:])
			s.next += n
			s.changed.Broadcast()
			return n, nil
		case s.finished:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

// write blocks until all of p is in the buffer. Concurrent writes do not
// interleave.
func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		if err := s.writable(); err != nil {
			return 0, err
		}
		s.changed.Wait()
	}
	s.writing = true
	defer func() {
		s.writing = false
		s.changed.Broadcast()
	}()
	for {
		if err := s.writable(); err != nil {
			return n, err
		}
		room := min(bufferBytes-(len(s.buf)-s.next), len(p)-n)
		if room > 0 {
			if s.next > 0 && len(s.buf)+room > cap(s.buf) {
				s.buf = s.buf[:copy(s.buf, s.buf[s.next:])]
				s.next = 0
			}
			s.buf = append(s.buf, p[n:n+room]...)
			n += room
			s.changed.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		s.changed.Wait()
	}
}

// writable returns the error of a write, if there is one.
func (s *stream) writable() error {
	if err := s.writer.failed(); err != nil {
		return err
	}
	if s.finished || s.reader.closed {
		return os.NewSyscallError("write", syscall.EPIPE)
	}
	return nil
}

// finish lets the reader see the end after what is in the buffer.
func (s *stream) finish() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer.closed {
		return net.ErrClosed
	}
	s.finished = true
	s.changed.Broadcast()
	return nil
}

// closeReader discards what is in the buffer. A second call is an error.
func (s *stream) closeReader() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader.closed {
		return net.ErrClosed
	}
	s.reader.closed = true
	s.reader.stopTimer()
	s.buf, s.next = nil, 0
	s.changed.Broadcast()
	return nil
}

// closeWriter is finish, and the end of all writing.
func (s *stream) closeWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	s.writer.closed = true
	s.writer.stopTimer()
	s.changed.Broadcast()
}

// setDeadline sets the deadline of e, one of the two ends. The zero time means
// none.
func (s *stream) setDeadline(e *end, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	e.stopTimer()
	e.deadline = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		// The timer decides nothing, so that one which fires late does no harm.
		e.timer = time.AfterFunc(wait, s.wake)
	}
	s.changed.Broadcast()
	return nil
}

func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}
