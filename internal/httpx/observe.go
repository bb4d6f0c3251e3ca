package httpx

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Response is what a handler did with its response.
type Response struct {
	// Status is the final status code. It is 200 if the handler wrote or returned
	// without a status, 101 if it hijacked the connection before it sent one, and 0
	// if it was aborted before anything was sent. Informational codes (1xx but 101)
	// never show here.
	Status int
	// Bytes is the length of the body that the handler wrote. Compression further
	// out changes what is sent, and of a HEAD request nothing is.
	Bytes int64
	// HeadersAt is the instant just before the final headers were written, or the
	// end of the handler if it wrote nothing. It is zero when Status is.
	HeadersAt time.Time
	// Hijacked is true if the handler took over the connection. What it did with
	// it is not observed.
	Hijacked bool
	// Aborted is true if the handler did not return: it panicked, with
	// [http.ErrAbortHandler] or anything else, or called [runtime.Goexit].
	Aborted bool
	// Err is the first error of writing or flushing, usually because the client
	// has gone. It need not come: small responses are still in a buffer when the
	// handler returns. An error of the source of a copy is not one, except where
	// the kernel copies (sendfile, splice), which does not tell the two apart.
	Err error
}

// Observation is a response in progress, made by [Observe].
type Observation observed

// Observe returns a writer to hand to a handler in place of w, and the
// observation of what is done with it. Most callers want [Serve].
//
// The function onHeaders may be nil. It is called once, on the goroutine of the
// handler, with the final status just before the headers are written, so that it
// may still edit the header map of w. It must not write. When a connection is
// hijacked it is called just after. It is not called if the handler was aborted
// before it sent anything.
//
// The writer is an [http.Flusher], [io.ReaderFrom] or [http.Pusher] exactly if w
// is, and an [http.Hijacker] exactly if [http.ResponseController] could hijack w,
// because what is reached around the wrapper is not observed. It is always an
// [io.StringWriter], unwraps to w, and serves [http.ResponseController] in all
// that w does.
//
// Like every response writer it is for one goroutine at a time.
func Observe(w http.ResponseWriter, onHeaders func(status int)) (http.ResponseWriter, *Observation) {
	o := &observed{w: w, onHeaders: onHeaders}
	return o.view(), (*Observation)(o)
}

// End says that the handler is done, and whether it returned or was aborted, and
// returns the outcome. A handler that returned without writing anything has now
// answered 200.
func (o *Observation) End(returned bool) Response {
	if returned {
		(*observed)(o).headers(http.StatusOK)
	}
	resp := o.resp
	resp.Aborted = !returned
	return resp
}

// Serve runs next on an observed w. When next is done, however it ends, onEnd is
// called with the outcome; a panic or [runtime.Goexit] then goes on, untouched
// and with its stack. The functions may be nil; [Observe] says when onHeaders is
// called.
func Serve(next http.Handler, w http.ResponseWriter, r *http.Request, onHeaders func(status int), onEnd func(Response)) {
	view, o := Observe(w, onHeaders)
	returned := false
	defer func() {
		resp := o.End(returned)
		if onEnd != nil {
			onEnd(resp)
		}
	}()
	next.ServeHTTP(view, r)
	returned = true
}

// observed has the methods that every view of it has, and in lower case those
// that only some have.
type observed struct {
	w         http.ResponseWriter
	onHeaders func(status int)
	resp      Response
}

// headers records the final status, unless there is one already.
func (o *observed) headers(status int) {
	if o.resp.Status != 0 {
		return
	}
	o.resp.Status = status
	o.resp.HeadersAt = time.Now()
	if o.onHeaders != nil {
		o.onHeaders(status)
	}
}

// wrote records the result of a write.
func (o *observed) wrote(n int64, err error) {
	if o.resp.Hijacked {
		return
	}
	o.resp.Bytes += n
	if err != nil && o.resp.Err == nil {
		o.resp.Err = err
	}
}

func (o *observed) Unwrap() http.ResponseWriter { return o.w }

func (o *observed) Header() http.Header { return o.w.Header() }

// WriteHeader passes every call on, also the second and the invalid one, about
// which net/http logs or panics as it does without us.
func (o *observed) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols || status >= 200 && status <= 999 {
		o.headers(status)
	}
	o.w.WriteHeader(status)
}

func (o *observed) Write(p []byte) (int, error) {
	o.headers(http.StatusOK)
	n, err := o.w.Write(p)
	o.wrote(int64(n), err)
	return n, err
}

func (o *observed) WriteString(s string) (int, error) {
	o.headers(http.StatusOK)
	n, err := io.WriteString(o.w, s)
	o.wrote(int64(n), err)
	return n, err
}

// FlushError is what [http.ResponseController] prefers over Flush. It is there
// also if w is no Flusher but unwraps to one, whose flush would otherwise send
// the headers unseen.
func (o *observed) FlushError() error {
	if !o.canFlush() {
		return http.ErrNotSupported
	}
	o.headers(http.StatusOK)
	err := http.NewResponseController(o.w).Flush()
	o.wrote(0, err)
	return err
}

// canFlush reports whether [http.ResponseController] could flush w. It asks
// before the headers are recorded, because a flush that is not supported sends
// none.
func (o *observed) canFlush() bool {
	for w := o.w; ; {
		switch t := w.(type) {
		case interface {
			FlushError() error
			Unwrap() http.ResponseWriter
		}: // such as an observed writer: it can if what it wraps can
			w = t.Unwrap()
		case interface{ FlushError() error }, http.Flusher:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
}

func (o *observed) flush() { _ = o.FlushError() }

func (o *observed) hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(o.w).Hijack()
	if err == nil {
		o.headers(http.StatusSwitchingProtocols)
		o.resp.Hijacked = true
	}
	return conn, rw, err
}

// canHijack reports whether [http.ResponseController] could hijack w.
func (o *observed) canHijack() bool {
	for w := o.w; ; {
		switch t := w.(type) {
		case http.Hijacker:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
}

// probeBytes is how much of a copy goes through Write when no header was sent
// yet. It is what net/http sniffs for a content type, and likewise not left to
// the kernel there.
const probeBytes = 512

// readFrom copies the first bytes itself if the headers are still to be sent: a
// source that is empty or broken from the start sends none, and the handler may
// yet answer with another status.
func (o *observed) readFrom(src io.Reader) (n int64, err error) {
	if o.resp.Status == 0 {
		n, err = io.CopyBuffer(o, io.LimitReader(src, probeBytes), make([]byte, probeBytes))
		if err != nil || n < probeBytes {
			return n, err
		}
	}
	dst := o.w.(io.ReaderFrom) // the view has ReadFrom only then
	if hasDescriptor(src) {
		m, err := dst.ReadFrom(src)
		o.wrote(m, err)
		return n + m, err
	}
	watched := &source{Reader: src}
	m, err := dst.ReadFrom(watched)
	if watched.failed {
		o.wrote(m, nil)
	} else {
		o.wrote(m, err)
	}
	return n + m, err
}

// hasDescriptor reports whether the kernel might copy from src, for which
// net/http has to see src itself. [http.ServeContent] limits its files.
func hasDescriptor(src io.Reader) bool {
	if limited, ok := src.(*io.LimitedReader); ok {
		src = limited.R
	}
	_, ok := src.(syscall.Conn)
	return ok
}

// source remembers whether it was the reading of a copy that failed.
type source struct {
	io.Reader
	failed bool
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = true
	}
	return n, err
}

func (o *observed) push(target string, opts *http.PushOptions) error {
	return o.w.(http.Pusher).Push(target, opts) // the view has Push only then
}
