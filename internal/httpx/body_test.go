package httpx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// ends collects what an observer is told.
type ends struct {
	mu   sync.Mutex
	errs []error
}

func (e *ends) BodyEnded(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errs = append(e.errs, err)
}

// check wants exactly one end so far.
func (e *ends) check(t *testing.T, name string, want error) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.errs) != 1 || !errors.Is(e.errs[0], want) {
		t.Errorf("%s: ends are %v, want [%v]", name, e.errs, want)
	}
}

func (e *ends) none(t *testing.T, name string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.errs) != 0 {
		t.Errorf("%s: ends are %v, want none yet", name, e.errs)
	}
}

func TestBodyEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		body io.ReadCloser
		use  func(io.ReadCloser)
		want error
	}{
		{"none", http.NoBody, func(io.ReadCloser) {}, nil},
		{"read to the end", io.NopCloser(bytes.NewReader([]byte("abc"))), func(r io.ReadCloser) { _, _ = io.ReadAll(r) }, nil},
		{"read and closed twice", io.NopCloser(bytes.NewReader([]byte("abc"))), func(r io.ReadCloser) {
			_, _ = io.ReadAll(r)
			_, _ = r.Read(nil)
			_, _ = r.Close(), r.Close()
		}, nil},
		{"closed unread", io.NopCloser(bytes.NewReader([]byte("abc"))), func(r io.ReadCloser) { _ = r.Close() }, nil},
		{"broken", io.NopCloser(iotest.ErrReader(broken)), func(r io.ReadCloser) {
			_, _ = io.ReadAll(r)
			_ = r.Close()
		}, broken},
		{"cut off", io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)), func(r io.ReadCloser) { _, _ = io.ReadAll(r) }, io.ErrUnexpectedEOF},
	} {
		var got ends
		resp := &http.Response{Body: tt.body}
		ctx, cancel := context.WithCancel(t.Context())
		ObserveBody(ctx, resp, &got)
		if tt.body != http.NoBody {
			got.none(t, tt.name)
		}
		tt.use(resp.Body)
		got.check(t, tt.name, tt.want)
		cancel()
		got.check(t, tt.name+", then cancelled", tt.want)
	}
}

// A reader that leaves without closing ends with its context.
func TestBodyEndsWithContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got ends
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		resp := &http.Response{Body: io.NopCloser(bytes.NewReader([]byte("abc")))}
		ObserveBody(ctx, resp, &got)
		time.Sleep(59 * time.Second)
		synctest.Wait()
		got.none(t, "before")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		got.check(t, "after", context.DeadlineExceeded)
		_ = resp.Body.Close()
		got.check(t, "closed", context.DeadlineExceeded)
	})
}

// duplex is a connection that has been upgraded.
type duplex struct {
	io.Reader
	bytes.Buffer
	closed, half bool
}

func (d *duplex) Read(p []byte) (int, error) { return d.Reader.Read(p) }
func (d *duplex) Close() error               { d.closed = true; return nil }

type halfDuplex struct{ duplex }

func (d *halfDuplex) CloseWrite() error { d.half = true; return nil }

func TestBodyOfUpgradedConnection(t *testing.T) {
	t.Parallel()
	var got ends
	whole := &duplex{Reader: bytes.NewReader([]byte("in"))}
	resp := &http.Response{Body: whole}
	ObserveBody(t.Context(), resp, &got)
	if _, err := io.WriteString(resp.Body.(io.Writer), "out"); err != nil || whole.String() != "out" {
		t.Errorf("wrote %q, %v, want out", whole.String(), err)
	}
	if _, ok := resp.Body.(writeCloser); ok {
		t.Error("the body can close one direction, and could not before")
	}
	got.none(t, "open")
	if err := resp.Body.Close(); err != nil || !whole.closed {
		t.Errorf("Close = %v, closed %v", err, whole.closed)
	}
	got.check(t, "closed", nil)

	half := &halfDuplex{duplex{Reader: bytes.NewReader(nil)}}
	resp = &http.Response{Body: half}
	got = ends{}
	ObserveBody(t.Context(), resp, &got)
	if err := resp.Body.(writeCloser).CloseWrite(); err != nil || !half.half {
		t.Errorf("CloseWrite = %v, half closed %v", err, half.half)
	}
	got.none(t, "half closed")
}
