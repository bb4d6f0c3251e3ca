package httpx

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Guard lends a response writer and the body of a request to a handler that runs on
// a goroutine of its own, until an instant, and can then take both back: after
// [Guard.Revoke] no call of the handler reaches either, whatever it still does with
// them. It is made by [NewGuard].
//
// Nothing is buffered. Writes go through one by one, and a call in progress is
// interrupted before it is waited for. None begins once the time is over, also if
// nobody has taken the writer back yet: a handler and who waits for it wake up at the
// same moment, and the answer is not to depend on who is first.
type Guard guarded

// Progress says how far a handler had come when its writer was taken back.
type Progress uint8

const (
	// NotBegun says that no final header was sent. The writer is as it was before the
	// handler, and an answer can be written.
	NotBegun Progress = iota
	// Begun says that the response has begun, and is not complete: all that is left is
	// to abort it by [http.ErrAbortHandler].
	Begun
	// Hijacked says that the connection belongs to the handler, and nothing was taken
	// back.
	Hijacked
	// Ended says that the handler had ended before, and nothing was taken back.
	Ended
)

// linger is how long a connection may still take what is left of an exchange that was
// cut off: its peer's upload, so that the peer sees the answer before a reset, or what
// is left in a buffer. It is what net/http grants for the same purpose.
const linger = 500 * time.Millisecond

// errEnded is returned to what a handler leaves behind when it returns.
var errEnded = errors.New("httpx: the handler has ended")

// NewGuard returns a guard that lends w and the body of r until an instant.
func NewGuard(w http.ResponseWriter, r *http.Request, until time.Time) *Guard {
	return &Guard{
		w: w, body: r.Body, until: until, http1: r.ProtoMajor == 1, header: cloned(w.Header()),
		canFlush: (&observed{w: w}).canFlush(),
	}
}

// cloned returns a copy of a header that can be written to.
func cloned(h http.Header) http.Header {
	if len(h) == 0 {
		return http.Header{}
	}
	return h.Clone()
}

// Writer returns the writer for the handler. It has a header map of its own, which
// begins as that of the writer below, and is copied there when the header is sent.
//
// It is an [http.Flusher], [io.ReaderFrom] or [http.Pusher] exactly if the writer
// below is, and an [http.Hijacker] exactly if [http.ResponseController] could hijack
// that one. It serves [http.ResponseController] in all that the writer below does, and
// does not unwrap to it, since what is reached around it could not be taken back.
//
// When it has been taken back, calls return [http.ErrHandlerTimeout], and do nothing.
func (g *Guard) Writer() http.ResponseWriter { return (*guarded)(g).lend() }

// Body returns the body for the handler. When it has been taken back, reading returns
// [http.ErrHandlerTimeout]. A request without a body has none here.
func (g *Guard) Body() io.ReadCloser {
	if !(*guarded)(g).hasBody() {
		return g.body
	}
	return &guardedBody{(*guarded)(g)}
}

// End says, on the handler's goroutine, that the handler is done, and whether it
// returned or was aborted. If it returned, its header and trailers are now those of
// the writer below; a header that was not sent is left to be sent. It waits for calls of
// w that are in progress on goroutines which the handler leaves behind; later ones fail.
//
// End returns false if the writer was taken back before, or is to be: a handler that
// returns when its time is over may have stopped in the middle.
func (g *Guard) End(returned bool) bool {
	if !(*guarded)(g).end(returned) {
		return false
	}
	if returned {
		assign(g.w.Header(), g.header)
	}
	return true
}

// Revoke takes back the writer and the body, and says how far the handler has come.
// When it returns, unless with [Hijacked] or [Ended], no call of the handler is in
// progress below, with two exceptions: where the writer below has no deadlines to be
// interrupted by, a call that writes is waited for, and one that reads the body is not.
//
// With [NotBegun], a connection of HTTP/1 whose request has not been read to its end
// is marked to be closed after the answer. The answer would otherwise be held up until
// the rest of the request has come.
func (g *Guard) Revoke() Progress { return (*guarded)(g).revoke() }

// guarded has the methods that every view of it has, and in lower case those that
// only some have.
type guarded struct {
	w        http.ResponseWriter
	body     io.ReadCloser
	until    time.Time
	http1    bool
	canFlush bool
	header   http.Header // the handler's
	before   http.Header // that of w, if it was changed for an informational response

	mu        sync.Mutex
	refusal   error         // what calls return; nil while they pass. Guarded by mu
	writing   int           // calls of w in progress. Guarded by mu
	reading   int           // calls of body in progress. Guarded by mu
	begun     bool          // a final header is being sent, or was. Guarded by mu
	complete  bool          // body was read to its end. Guarded by mu
	hijacking bool          // Guarded by mu
	hijacked  bool          // Guarded by mu
	left      chan struct{} // told of calls that end after the refusal. Guarded by mu
}

func (g *guarded) hasBody() bool { return g.body != nil && g.body != http.NoBody }

// assign makes one header map equal to another.
func assign(to, from http.Header) {
	maps.DeleteFunc(to, func(name string, _ []string) bool { _, ok := from[name]; return !ok })
	maps.Copy(to, from)
}

// enter begins a call of w, which leave ends, or returns the refusal. If the call
// sends the header, it copies the handler's.
func (g *guarded) enter(sends bool) error {
	g.mu.Lock()
	first := sends && !g.begun
	err := g.refused()
	if err == nil {
		g.writing++
		g.begun = g.begun || sends
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	if first {
		assign(g.w.Header(), g.header)
	}
	return nil
}

// refused returns the error of calls that may not begin, while mu is held.
func (g *guarded) refused() error {
	if g.refusal == nil && g.over() {
		return http.ErrHandlerTimeout
	}
	return g.refusal
}

// over reports whether the time is, while mu is held. What is hijacked has no such time.
func (g *guarded) over() bool { return !g.hijacked && !time.Now().Before(g.until) }

// leave ends a call of w. It returns the error of the call, or the refusal if the call
// failed because it was interrupted.
func (g *guarded) leave(err error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.writing--
	return g.gone(err)
}

// gone tells who waits of a call that has ended, while mu is held.
func (g *guarded) gone(err error) error {
	select {
	case g.left <- struct{}{}: // nil, and so never ready, while nobody waits
	default:
	}
	if err != nil && g.refusal != nil {
		return g.refusal
	}
	return err
}

// refuse refuses all further calls, while mu is held.
func (g *guarded) refuse(err error) {
	g.refusal, g.left = err, make(chan struct{}, 1)
}

func (g *guarded) end(returned bool) bool {
	g.mu.Lock()
	if g.refusal != nil || returned && g.over() {
		g.mu.Unlock()
		return false
	}
	g.refuse(errEnded)
	for g.writing > 0 {
		g.mu.Unlock()
		<-g.left
		g.mu.Lock()
	}
	g.mu.Unlock()
	return true
}

func (g *guarded) revoke() Progress {
	g.mu.Lock()
	hijacked, ended := g.hijacked, g.refusal != nil
	if !hijacked && !ended {
		g.refuse(http.ErrHandlerTimeout)
	}
	g.mu.Unlock()
	switch {
	case hijacked:
		return Hijacked
	case ended:
		return Ended
	}
	interrupted := g.clear()
	g.mu.Lock()
	hijacked = g.hijacked // just now
	begun, complete := g.begun, !interrupted && g.complete || !g.hasBody()
	g.mu.Unlock()

	c := http.NewResponseController(g.w)
	switch {
	case hijacked:
		return Hijacked
	case begun:
		// The connection is done for, and what is left in its buffers may not keep it.
		_ = c.SetWriteDeadline(time.Now().Add(linger))
		return Begun
	}
	if g.before != nil {
		assign(g.w.Header(), g.before)
	}
	if !complete {
		// net/http reads on before it answers, unless it is to close the connection, and
		// also after that, as long as the deadline allows.
		if g.http1 {
			g.w.Header().Set("Connection", "close")
		}
		_ = c.SetReadDeadline(time.Now().Add(linger))
	}
	return NotBegun
}

// clear interrupts the calls in progress, and waits for them. It reports whether it
// has interrupted the reading of the body.
func (g *guarded) clear() (interrupted bool) {
	past := time.Unix(1, 0)
	c := http.NewResponseController(g.w)
	for {
		g.mu.Lock()
		writing, reading, begun, hijacking := g.writing > 0, g.reading > 0, g.begun, g.hijacking
		g.mu.Unlock()
		if writing && begun && !hijacking {
			_ = c.SetWriteDeadline(past) // without deadlines there is only waiting
		}
		if reading {
			// A body without deadlines may be any reader, and block for ever.
			reading = !hijacking && c.SetReadDeadline(past) == nil
			interrupted = interrupted || reading
		}
		if !writing && !reading {
			return interrupted
		}
		<-g.left
	}
}

func (g *guarded) Header() http.Header { return g.header }

// WriteHeader passes every call on, also the second and the invalid one, about which
// net/http logs or panics as it does without us.
func (g *guarded) WriteHeader(status int) {
	final := status == http.StatusSwitchingProtocols || status >= 200 && status <= 999
	if g.enter(final) != nil {
		return
	}
	defer func() { _ = g.leave(nil) }()
	if status >= 100 && status < 200 && !final && !g.hasBegun() {
		if g.before == nil {
			g.before = cloned(g.w.Header())
		}
		assign(g.w.Header(), g.header)
	}
	g.w.WriteHeader(status)
}

func (g *guarded) hasBegun() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begun
}

func (g *guarded) Write(p []byte) (n int, err error) {
	if err := g.enter(true); err != nil {
		return 0, err
	}
	defer func() { err = g.leave(err) }()
	return g.w.Write(p)
}

func (g *guarded) WriteString(s string) (n int, err error) {
	if err := g.enter(true); err != nil {
		return 0, err
	}
	defer func() { err = g.leave(err) }()
	return io.WriteString(g.w, s)
}

// control makes a call of [http.ResponseController].
func (g *guarded) control(sends bool, call func(*http.ResponseController) error) (err error) {
	if err := g.enter(sends); err != nil {
		return err
	}
	defer func() { err = g.leave(err) }()
	return call(http.NewResponseController(g.w))
}

// FlushError is what [http.ResponseController] prefers over Flush. It is there also if
// w is no Flusher but unwraps to one.
func (g *guarded) FlushError() error {
	if !g.canFlush {
		return http.ErrNotSupported
	}
	return g.control(true, (*http.ResponseController).Flush)
}

func (g *guarded) flush() { _ = g.FlushError() }

// SetReadDeadline implements it for [http.ResponseController].
func (g *guarded) SetReadDeadline(t time.Time) error {
	return g.control(false, func(c *http.ResponseController) error { return c.SetReadDeadline(t) })
}

// SetWriteDeadline implements it for [http.ResponseController].
func (g *guarded) SetWriteDeadline(t time.Time) error {
	return g.control(false, func(c *http.ResponseController) error { return c.SetWriteDeadline(t) })
}

// EnableFullDuplex implements it for [http.ResponseController].
func (g *guarded) EnableFullDuplex() error {
	return g.control(false, (*http.ResponseController).EnableFullDuplex)
}

func (g *guarded) hijack() (conn net.Conn, rw *bufio.ReadWriter, err error) {
	g.setHijack(true, false) // from here on nobody sets deadlines on what may be the handler's
	defer func() { g.setHijack(false, false) }()
	err = g.control(false, func(c *http.ResponseController) (err error) {
		conn, rw, err = c.Hijack()
		g.setHijack(true, err == nil)
		return err
	})
	return conn, rw, err
}

// setHijack says whether a connection is being hijacked, and whether it has been.
func (g *guarded) setHijack(now, done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hijacking, g.hijacked = now, g.hijacked || done
	if done && errors.Is(g.refusal, http.ErrHandlerTimeout) {
		g.refusal = nil // the connection is taken faster than it is taken back
	}
}

// readFrom leaves regular files to the writer below, which may leave them to the
// kernel. What comes from elsewhere is copied here, each write a call of its own: the
// wait for a slow source could not be interrupted below.
func (g *guarded) readFrom(src io.Reader) (n int64, err error) {
	if !regular(src) {
		return io.Copy(struct{ io.Writer }{g}, src)
	}
	if !g.hasBegun() {
		n, err = io.CopyBuffer(struct{ io.Writer }{g}, io.LimitReader(src, probeBytes), make([]byte, probeBytes))
		if err != nil || n < probeBytes {
			return n, err
		}
	}
	if err := g.enter(true); err != nil {
		return n, err
	}
	defer func() { err = g.leave(err) }()
	m, err := g.w.(io.ReaderFrom).ReadFrom(src) // the view has ReadFrom only then
	return n + m, err
}

// regular reports whether src is a regular file, or the beginning of one, as
// [http.ServeContent] has it.
func regular(src io.Reader) bool {
	if limited, ok := src.(*io.LimitedReader); ok {
		src = limited.R
	}
	file, ok := src.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode().IsRegular()
}

func (g *guarded) push(target string, opts *http.PushOptions) error {
	return g.control(false, func(*http.ResponseController) error {
		return g.w.(http.Pusher).Push(target, opts) // the view has Push only then
	})
}

// guardedBody is the body of a request that can be taken back.
type guardedBody struct{ g *guarded }

// call makes a call of the body.
func (b *guardedBody) call(f func() (int, error)) (n int, err error) {
	g := b.g
	g.mu.Lock()
	if err := g.refused(); err != nil {
		g.mu.Unlock()
		return 0, err
	}
	g.reading++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.reading--
		g.complete = g.complete || err == io.EOF //nolint:errorlint // what wraps it is no end
		_ = g.gone(nil)
		if g.refusal != nil {
			n, err = 0, g.refusal
		}
	}()
	return f()
}

func (b *guardedBody) Read(p []byte) (int, error) {
	return b.call(func() (int, error) { return b.g.body.Read(p) })
}

func (b *guardedBody) Close() error {
	_, err := b.call(func() (int, error) { return 0, b.g.body.Close() })
	return err
}
