package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/uprung/uprung"
)

// upload is the body of a request on its way. For as long as that takes, which is mostly
// up to who sends it to us, the request counts as in progress, but nobody waits for the
// endpoint. Other goroutines than that of the request read the body.
type upload struct {
	e    *exchange
	body requestBody

	mu    sync.Mutex
	sent  bool  // the body was read to its end; guarded by mu
	over  bool  // the request has a response, or never will; guarded by mu
	cause error // why the body could not be read; guarded by mu

	reading, unreadable atomic.Bool
}

// upload returns a copy of a request, whose body is watched.
func (e *exchange) upload(r *http.Request) *http.Request {
	length := r.ContentLength
	if length == 0 {
		length = -1 // as net/http has it for requests with a body
	}
	u := &upload{e: e}
	u.body = requestBody{r.Body, u, length}
	e.uploading = u
	e.token = e.group.picker.Answered(e.token, e.now, uprung.Ignored)
	r = r.WithContext(r.Context())
	r.Body = &u.body
	if again := r.GetBody; again != nil {
		r.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			return &requestBody{body, u, length}, nil
		}
	}
	return r
}

// end says that all of the body was read: from now on, the endpoint is waited for.
func (u *upload) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sent || u.over {
		return
	}
	e := u.e
	u.sent, e.now = true, e.b.now()
	e.group.picker.Done(e.token, e.now, uprung.Ignored)
	e.token = e.group.picker.Take(e.token.Endpoint, e.now)
}

// finish says that the token and the times of the exchange are not to change any more,
// and returns whether the body was sent.
func (u *upload) finish() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over = true
	return u.sent
}

// lost reports whether a request that failed did so because what was to be sent could
// not be read, or did not come in time.
func (u *upload) lost() bool {
	return u.unreadable.Load() || u.reading.Load() && u.e.request.Context().Err() != nil
}

// explain adds to an error why the body could not be read, if it is hidden: what ends
// the body of a request that came in may end its context too.
func (u *upload) explain(err error) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.cause != nil && errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", err, u.cause)
	}
	return err
}

// requestBody tells an upload of what becomes of it.
type requestBody struct {
	io.ReadCloser
	u    *upload
	left int64 // of a known length; negative if it is not known
}

func (b *requestBody) Read(p []byte) (int, error) {
	u := b.u
	u.reading.Store(true)
	n, err := b.ReadCloser.Read(p)
	u.reading.Store(false)
	if b.left > 0 {
		b.left -= int64(n)
	}
	switch {
	case err != nil && err != io.EOF: // one that wraps it is none of a complete body
		err = &bodyError{err}
		u.mu.Lock()
		u.cause = err
		u.mu.Unlock()
		u.unreadable.Store(true)
	case u.e.request.Context().Err() != nil: // net/http waits for this read before it fails
		u.unreadable.Store(true)
	case err == io.EOF, b.left == 0:
		u.end()
	}
	return n, err
}

// bodyError says that what was to be sent could not be read.
type bodyError struct{ error }

func (e *bodyError) Unwrap() error { return e.error }
