package httpx

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
)

// BodyObserver is told how the body of a response has ended.
type BodyObserver interface {
	// BodyEnded is called exactly once, with nil if the body was read to its end or
	// closed, or with the error that ended it. It may be called on any goroutine.
	BodyEnded(err error)
}

// ObserveBody has o told about the end of the body of resp, which a round tripper
// has returned for a request with this context. The end of the context is an end
// too, since the body of one who has left may never be closed. Without a body it is
// now.
//
// The body of an upgraded connection (101) stays an [io.ReadWriteCloser], and can
// close its two directions apart if it could before.
func ObserveBody(ctx context.Context, resp *http.Response, o BodyObserver) {
	if resp.Body == nil || resp.Body == http.NoBody {
		o.BodyEnded(nil)
		return
	}
	new(ObservedBody).Observe(ctx, resp, o)
}

// ObservedBody is the memory that an observation takes, for an observer to have it as a
// field and so make one allocation of two. It is for one response.
type ObservedBody struct{ body body }

// Observe is [ObserveBody] in the memory of s, for a response that has a body.
func (s *ObservedBody) Observe(ctx context.Context, resp *http.Response, o BodyObserver) {
	b := &s.body
	b.ReadCloser, b.observer = resp.Body, o
	if ctx.Done() != nil {
		b.release = context.AfterFunc(ctx, func() { b.end(ctx.Err()) })
	}
	resp.Body = b
	if conn, ok := b.ReadCloser.(io.ReadWriteCloser); ok {
		up := &upgraded{body: b, conn: conn}
		resp.Body = up
		if half, ok := conn.(writeCloser); ok {
			resp.Body = &halfClosing{upgraded: up, half: half}
		}
	}
}

// body tells its observer of its end.
type body struct {
	io.ReadCloser
	observer BodyObserver
	ended    atomic.Bool
	release  func() bool // of the context; nil if it never ends
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF: // an error that wraps it is none of a complete body
		b.over(nil)
	case err != nil:
		b.over(err)
	}
	return n, err
}

func (b *body) Close() error {
	b.over(nil) // before a reader can see that it is closed
	return b.ReadCloser.Close()
}

// over ends the observation for the reader.
func (b *body) over(err error) {
	b.end(err)
	if b.release != nil {
		b.release()
	}
}

func (b *body) end(err error) {
	if !b.ended.Load() && b.ended.CompareAndSwap(false, true) {
		b.observer.BodyEnded(err)
	}
}

// upgraded is the body of a connection that speaks another protocol now.
type upgraded struct {
	*body
	conn io.ReadWriteCloser
}

func (u *upgraded) Write(p []byte) (int, error) { return u.conn.Write(p) }

// writeCloser is what net/http offers on connections that can be half closed.
type writeCloser interface{ CloseWrite() error }

type halfClosing struct {
	*upgraded
	half writeCloser
}

func (h *halfClosing) CloseWrite() error { return h.half.CloseWrite() }
