package httpx

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// fake is a response writer that can do everything and notes what it is asked
// to. The tests hide from it what a writer is not to have.
type fake struct {
	header http.Header
	calls  []string
	body   strings.Builder
	err    error // of every write and flush
}

func newFake() *fake { return &fake{header: http.Header{}} }

func (f *fake) call(name string)    { f.calls = append(f.calls, name) }
func (f *fake) Header() http.Header { return f.header }
func (f *fake) WriteHeader(int)     { f.call("WriteHeader") }
func (f *fake) FlushError() error   { f.call("FlushError"); return f.err }
func (f *fake) Flush()              { f.call("Flush") }

func (f *fake) Write(p []byte) (int, error) {
	f.call("Write")
	if f.err != nil {
		return 0, f.err
	}
	return f.body.Write(p)
}

func (f *fake) WriteString(s string) (int, error) {
	f.call("WriteString")
	if f.err != nil {
		return 0, f.err
	}
	return f.body.WriteString(s)
}

func (f *fake) ReadFrom(r io.Reader) (int64, error) {
	f.call("ReadFrom")
	if f.err != nil {
		return 0, f.err
	}
	return io.Copy(&f.body, r)
}

func (f *fake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	f.call("Hijack")
	return nil, nil, f.err
}

func (f *fake) Push(string, *http.PushOptions) error {
	f.call("Push")
	return f.err
}

// bare is a writer with no more than it must have.
type bare struct{ http.ResponseWriter }

// unwrapper is a middleware's writer from before this package: it hides what is
// below it but to http.ResponseController.
type unwrapper struct{ bare }

func (u unwrapper) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// combination returns a writer with just the given optional methods of f.
func combination(f *fake, set int) http.ResponseWriter {
	type (
		w  = http.ResponseWriter
		fl = http.Flusher
		hi = http.Hijacker
		rf = io.ReaderFrom
		pu = http.Pusher
	)
	return []http.ResponseWriter{
		bare{f},
		struct {
			w
			fl
		}{f, f},
		struct {
			w
			hi
		}{f, f},
		struct {
			w
			fl
			hi
		}{f, f, f},
		struct {
			w
			rf
		}{f, f},
		struct {
			w
			fl
			rf
		}{f, f, f},
		struct {
			w
			hi
			rf
		}{f, f, f},
		struct {
			w
			fl
			hi
			rf
		}{f, f, f, f},
		struct {
			w
			pu
		}{f, f},
		struct {
			w
			fl
			pu
		}{f, f, f},
		struct {
			w
			hi
			pu
		}{f, f, f},
		struct {
			w
			fl
			hi
			pu
		}{f, f, f, f},
		struct {
			w
			rf
			pu
		}{f, f, f},
		struct {
			w
			fl
			rf
			pu
		}{f, f, f, f},
		struct {
			w
			hi
			rf
			pu
		}{f, f, f, f},
		struct {
			w
			fl
			hi
			rf
			pu
		}{f, f, f, f, f},
	}[set]
}

// methods returns the optional methods that w has by type assertion.
func methods(w http.ResponseWriter) (set int) {
	if _, ok := w.(http.Flusher); ok {
		set |= hasFlush
	}
	if _, ok := w.(http.Hijacker); ok {
		set |= hasHijack
	}
	if _, ok := w.(io.ReaderFrom); ok {
		set |= hasReadFrom
	}
	if _, ok := w.(http.Pusher); ok {
		set |= hasPush
	}
	return set
}

func TestObserveKeepsOptionalMethods(t *testing.T) {
	t.Parallel()
	for set := range hasPush << 1 {
		f := newFake()
		below := combination(f, set)
		if got := methods(below); got != set {
			t.Fatalf("fake has methods %04b, want %04b", got, set)
		}
		w, _ := Observe(below, nil)
		nested, o := Observe(w, nil)
		for name, w := range map[string]http.ResponseWriter{"once": w, "twice": nested} {
			if got := methods(w); got != set {
				t.Errorf("observed %s: methods are %04b, want %04b", name, got, set)
			}
		}
		if got := nested.(interface{ Unwrap() http.ResponseWriter }).Unwrap(); got != w {
			t.Errorf("set %04b: Unwrap() = %T, want the writer below", set, got)
		}

		// Each method reaches the one below. Writes last: they end with Hijack.
		var want []string
		if p, ok := nested.(http.Pusher); ok {
			want = append(want, "Push")
			if err := p.Push("/", nil); err != nil {
				t.Errorf("set %04b: Push: %v", set, err)
			}
		}
		if p, ok := nested.(http.Flusher); ok {
			want = append(want, "Flush")
			p.Flush()
		}
		if p, ok := nested.(io.ReaderFrom); ok {
			want = append(want, "ReadFrom")
			nested.WriteHeader(http.StatusOK)
			f.calls = slices.DeleteFunc(f.calls, func(s string) bool { return s == "WriteHeader" })
			if n, err := p.ReadFrom(strings.NewReader("abc")); n != 3 || err != nil {
				t.Errorf("set %04b: ReadFrom = %d, %v, want 3, nil", set, n, err)
			}
		}
		want = append(want, "Write")
		if _, err := nested.Write([]byte("def")); err != nil {
			t.Errorf("set %04b: Write: %v", set, err)
		}
		if p, ok := nested.(http.Hijacker); ok {
			want = append(want, "Hijack")
			if _, _, err := p.Hijack(); err != nil {
				t.Errorf("set %04b: Hijack: %v", set, err)
			}
		}
		if !slices.Equal(f.calls, want) {
			t.Errorf("set %04b: calls below are %v, want %v", set, f.calls, want)
		}
		resp := o.End(true)
		if got, want := resp.Bytes, int64(f.body.Len()); got != want || resp.Status != http.StatusOK {
			t.Errorf("set %04b: %d bytes with status %d, want %d with 200", set, got, resp.Status, want)
		}
		if got, want := resp.Hijacked, set&hasHijack != 0; got != want {
			t.Errorf("set %04b: Hijacked = %t, want %t", set, got, want)
		}
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	errGone := errors.New("client has gone")
	type w = http.ResponseWriter
	for _, tt := range []struct {
		name    string
		handler func(w http.ResponseWriter)
		err     error // of the writer below
		want    Response
	}{
		{"nothing", func(w) {}, nil, Response{Status: 200}},
		{"status", func(w w) { w.WriteHeader(http.StatusNotFound) }, nil, Response{Status: 404}},
		{"the first status counts", func(w w) { w.WriteHeader(http.StatusNotFound); w.WriteHeader(http.StatusInternalServerError) }, nil, Response{Status: 404}},
		{"status after a write", func(w w) { _, _ = w.Write([]byte("ab")); w.WriteHeader(http.StatusInternalServerError) }, nil, Response{Status: 200, Bytes: 2}},
		{"empty write", func(w w) { _, _ = w.Write(nil); w.WriteHeader(http.StatusInternalServerError) }, nil, Response{Status: 200}},
		{"informational", func(w w) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusContinue)
			w.WriteHeader(http.StatusCreated)
		}, nil, Response{Status: 201}},
		{"informational only", func(w w) { w.WriteHeader(http.StatusEarlyHints) }, nil, Response{Status: 200}},
		{"switching protocols", func(w w) { w.WriteHeader(http.StatusSwitchingProtocols); w.WriteHeader(http.StatusOK) }, nil, Response{Status: 101}},
		{"invalid status", func(w w) { w.WriteHeader(99); w.WriteHeader(1000); w.WriteHeader(http.StatusNoContent) }, nil, Response{Status: 204}},
		{"unusual status", func(w w) { w.WriteHeader(999) }, nil, Response{Status: 999}},
		{"string", func(w w) { _, _ = io.WriteString(w, "abc") }, nil, Response{Status: 200, Bytes: 3}},
		{"flush", func(w w) { w.(http.Flusher).Flush(); w.WriteHeader(http.StatusInternalServerError) }, nil, Response{Status: 200}},
		{"controlled flush", func(w w) { _ = http.NewResponseController(w).Flush(); w.WriteHeader(http.StatusInternalServerError) }, nil, Response{Status: 200}},
		{"copy", func(w w) { _, _ = io.Copy(w, reader("abc")) }, nil, Response{Status: 200, Bytes: 3}},
		{"long copy", func(w w) { _, _ = io.Copy(w, reader(strings.Repeat("x", 2000))) }, nil, Response{Status: 200, Bytes: 2000}},
		{"copy of nothing", func(w w) { _, _ = io.Copy(w, reader("")); w.WriteHeader(http.StatusNotFound) }, nil, Response{Status: 404}},
		{"copy of a broken source", func(w w) {
			_, _ = io.Copy(w, iotest.ErrReader(io.ErrUnexpectedEOF))
			w.WriteHeader(http.StatusBadGateway)
		}, nil, Response{Status: 502}},
		{"copy of a source that breaks", func(w w) {
			_, _ = io.Copy(w, io.MultiReader(strings.NewReader(strings.Repeat("x", 600)), iotest.ErrReader(io.ErrUnexpectedEOF)))
		}, nil, Response{Status: 200, Bytes: 600}},
		{"hijack", func(w w) {
			_, _, _ = w.(http.Hijacker).Hijack()
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte("ab"))
		}, nil, Response{Status: 101, Hijacked: true}},
		{"controlled hijack", func(w w) { _, _, _ = http.NewResponseController(w).Hijack() }, nil, Response{Status: 101, Hijacked: true}},
		{"hijack after headers", func(w w) { w.WriteHeader(http.StatusOK); _, _, _ = w.(http.Hijacker).Hijack() }, nil, Response{Status: 200, Hijacked: true}},
		{"failing hijack", func(w w) { _, _, _ = w.(http.Hijacker).Hijack(); w.WriteHeader(http.StatusInternalServerError) }, errGone, Response{Status: 500}},
		{"failing write", func(w w) { _, _ = w.Write([]byte("ab")) }, errGone, Response{Status: 200, Err: errGone}},
		{"failing string", func(w w) { _, _ = io.WriteString(w, "ab") }, errGone, Response{Status: 200, Err: errGone}},
		{"failing flush", func(w w) { w.(http.Flusher).Flush() }, errGone, Response{Status: 200, Err: errGone}},
		{"failing copy", func(w w) { w.WriteHeader(http.StatusOK); _, _ = io.Copy(w, reader("ab")) }, errGone, Response{Status: 200, Err: errGone}},
		{"failing start of a copy", func(w w) { _, _ = io.Copy(w, reader("ab")) }, errGone, Response{Status: 200, Err: errGone}},
		{"panic", func(w) { panic("boom") }, nil, Response{Aborted: true}},
		{"panic after headers", func(w w) { w.WriteHeader(http.StatusOK); panic("boom") }, nil, Response{Status: 200, Aborted: true}},
		{"abort", func(w) { panic(http.ErrAbortHandler) }, nil, Response{Aborted: true}},
		{"goexit", func(w w) { _, _ = w.Write([]byte("ab")); runtime.Goexit() }, nil, Response{Status: 200, Bytes: 2, Aborted: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				f := newFake()
				f.err = tt.err
				var statuses []int
				var got []Response // of the inner and the outer observation
				handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(time.Second)
					tt.handler(w)
				})
				outcome := make(chan any)
				go func() {
					returned := false
					defer func() {
						r := recover()
						if r == nil && !returned {
							r = "goexit"
						}
						outcome <- r
					}()
					onHeaders := func(status int) { statuses = append(statuses, status) }
					onEnd := func(resp Response) { got = append(got, resp) }
					outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						Serve(handler, w, r, onHeaders, onEnd)
					})
					Serve(outer, f, nil, onHeaders, onEnd)
					returned = true
				}()
				raised := <-outcome

				var wantStatuses []int
				want := tt.want
				if want.Status != 0 {
					want.HeadersAt = start.Add(time.Second)
					wantStatuses = []int{want.Status, want.Status}
				}
				if !slices.Equal(got, []Response{want, want}) {
					t.Errorf("got  %+v\nwant %+v, twice", got, want)
				}
				if !slices.Equal(statuses, wantStatuses) {
					t.Errorf("onHeaders had %v, want %v", statuses, wantStatuses)
				}
				if got := raised != nil; got != want.Aborted {
					t.Errorf("%v was raised, want something: %t", raised, want.Aborted)
				}
				if tt.name == "abort" && raised != any(http.ErrAbortHandler) {
					t.Errorf("%v was raised, want %v", raised, http.ErrAbortHandler)
				}
			})
		})
	}
}

// reader hides from io.Copy that a source could write itself.
func reader(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} }

func TestServeWithoutFunctions(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	Serve(http.NotFoundHandler(), rec, httptest.NewRequest(http.MethodGet, "/", nil), nil, nil)
	if rec.Code != http.StatusNotFound {
		t.Errorf("status is %d, want 404", rec.Code)
	}
}

// What the controller could reach round the wrapper must be seen all the same.
func TestObserveBehindUnwrap(t *testing.T) {
	t.Parallel()
	for name, below := range map[string]func(f *fake) http.ResponseWriter{
		"unwrapper":          func(f *fake) http.ResponseWriter { return unwrapper{bare{f}} },
		"observed unwrapper": func(f *fake) http.ResponseWriter { w, _ := Observe(unwrapper{bare{f}}, nil); return w },
	} {
		w, o := Observe(below(newFake()), nil)
		if got := methods(w); got != hasHijack {
			t.Errorf("%s: methods are %04b, want %04b", name, got, hasHijack)
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("%s: Flush: %v", name, err)
		}
		w.WriteHeader(http.StatusInternalServerError)
		if resp := o.End(true); resp.Status != 200 {
			t.Errorf("%s: status after Flush is %d, want 200", name, resp.Status)
		}

		w, o = Observe(below(newFake()), nil)
		if _, _, err := http.NewResponseController(w).Hijack(); err != nil {
			t.Errorf("%s: Hijack: %v", name, err)
		}
		if resp := o.End(true); !resp.Hijacked || resp.Status != 101 {
			t.Errorf("%s: after Hijack %+v, want status 101, hijacked", name, resp)
		}
	}
}

// What the controller cannot do must not count as done.
func TestObserveNotSupported(t *testing.T) {
	t.Parallel()
	inner, _ := Observe(bare{newFake()}, nil)
	for name, below := range map[string]http.ResponseWriter{
		"bare": bare{newFake()}, "observed": inner, "unwrapper": unwrapper{bare{bare{newFake()}}},
	} {
		w, o := Observe(below, nil)
		c := http.NewResponseController(w)
		if err := c.Flush(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: Flush = %v, want %v", name, err, http.ErrNotSupported)
		}
		if _, _, err := c.Hijack(); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: Hijack = %v, want %v", name, err, http.ErrNotSupported)
		}
		if err := c.SetReadDeadline(time.Now()); !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: SetReadDeadline = %v, want %v", name, err, http.ErrNotSupported)
		}
		w.WriteHeader(http.StatusNotFound)
		if resp := o.End(true); resp.Status != 404 || resp.Err != nil || resp.Hijacked {
			t.Errorf("%s: %+v, want status 404 and nothing else", name, resp)
		}
	}
}

func TestObserveWritesWithoutStringWriter(t *testing.T) {
	t.Parallel()
	f := newFake()
	w, o := Observe(bare{f}, nil)
	if n, err := io.WriteString(w, "abc"); n != 3 || err != nil {
		t.Errorf("WriteString = %d, %v, want 3, nil", n, err)
	}
	if got := o.End(true).Bytes; got != 3 || f.body.String() != "abc" {
		t.Errorf("wrote %q and counted %d, want abc and 3", f.body.String(), got)
	}
	if want := []string{"Write"}; !slices.Equal(f.calls, want) {
		t.Errorf("calls are %v, want %v", f.calls, want)
	}
}

// A goroutine that outlives its handler never reaches another request.
func TestLateWrite(t *testing.T) {
	t.Parallel()
	var late http.ResponseWriter
	first, second := httptest.NewRecorder(), httptest.NewRecorder()
	keep := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { late = w })
	Serve(keep, first, httptest.NewRequest(http.MethodGet, "/", nil), nil, nil)
	write := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(late, "late")
		_, _ = io.WriteString(w, "answer")
	})
	var resp Response
	Serve(write, second, httptest.NewRequest(http.MethodGet, "/", nil), nil, func(r Response) { resp = r })
	if got := second.Body.String(); got != "answer" || resp.Bytes != 6 {
		t.Errorf("second response is %q and counts %d bytes, want answer and 6", got, resp.Bytes)
	}
	if got := first.Body.String(); got != "late" {
		t.Errorf("first response is %q, want late", got)
	}
}

func TestServeAllocations(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for set := range hasPush << 1 {
		f := &fake{header: http.Header{}, calls: make([]string, 0, 8)}
		below := combination(f, set)
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			f.calls = f.calls[:0]
			w.WriteHeader(http.StatusOK)
			_, _ = io.WriteString(w, "")
			_ = http.NewResponseController(w).Flush() // not every set has it
		})
		total := 0
		got := testing.AllocsPerRun(100, func() {
			Serve(handler, below, r, nil, func(resp Response) { total += resp.Status })
		})
		if got > 1 {
			t.Errorf("set %04b: Serve makes %v allocations, want at most 1", set, got)
		}
	}
}

// quiet discards what is written, without allocation.
type quiet struct{ http.ResponseWriter }

func (*quiet) WriteHeader(int)                   {}
func (*quiet) Write(p []byte) (int, error)       { return len(p), nil }
func (*quiet) WriteString(s string) (int, error) { return len(s), nil }

func BenchmarkServe(b *testing.B) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := &quiet{ResponseWriter: newFake()}
	b.ReportAllocs()
	total := 0
	for b.Loop() {
		Serve(handler, w, r, nil, func(resp Response) { total += resp.Status })
	}
}

// delegating is a wrapper that has FlushError whether or not it can flush.
type delegating struct{ http.ResponseWriter }

func (d delegating) Unwrap() http.ResponseWriter { return d.ResponseWriter }
func (d delegating) FlushError() error {
	return http.NewResponseController(d.ResponseWriter).Flush()
}

// dumb is a writer that can do nothing else.
type dumb struct{ http.ResponseWriter }

// A flush that nothing below can do sends no headers: the status that follows is
// the one.
func TestFlushThatIsNotSupportedSendsNothing(t *testing.T) {
	t.Parallel()
	recorder := httptest.NewRecorder()
	w, o := Observe(delegating{dumb{recorder}}, nil)
	if err := http.NewResponseController(w).Flush(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("Flush returns %v, want http.ErrNotSupported", err)
	}
	w.WriteHeader(http.StatusNotFound)
	if got := o.End(true); got.Status != http.StatusNotFound || recorder.Code != http.StatusNotFound {
		t.Errorf("status is %d, sent %d; want 404", got.Status, recorder.Code)
	}
}
