package httpx

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// later is when the time of no test is over.
var later = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// get returns a request without a body.
func get() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }

// guarding serves requests with a handler behind a guard that nobody revokes.
func guarding(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := NewGuard(w, r, later)
		in := r.Clone(r.Context())
		in.Body = g.Body()
		returned := false
		defer func() { g.End(returned) }()
		handler.ServeHTTP(g.Writer(), in)
		returned = true
	})
}

func TestGuardKeepsOptionalMethods(t *testing.T) {
	t.Parallel()
	for set := range hasPush << 1 {
		f := newFake()
		below := combination(f, set)
		w := NewGuard(below, get(), later).Writer()
		if got := methods(w); got != set {
			t.Errorf("methods are %04b, want %04b", got, set)
		}
		observed, _ := Observe(w, nil)
		if got := methods(observed); got != set {
			t.Errorf("observed: methods are %04b, want %04b", got, set)
		}
		if _, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
			t.Errorf("set %04b: there is a way around the guard", set)
		}

		var want []string
		if p, ok := w.(http.Pusher); ok {
			want = append(want, "Push")
			if err := p.Push("/", nil); err != nil {
				t.Errorf("set %04b: Push: %v", set, err)
			}
		}
		if p, ok := w.(http.Flusher); ok {
			want = append(want, "FlushError") // by the controller, if the writer below has it
			if _, ok := below.(interface{ FlushError() error }); !ok {
				want[len(want)-1] = "Flush"
			}
			p.Flush()
		}
		if p, ok := w.(io.ReaderFrom); ok {
			want = append(want, "Write")
			if n, err := p.ReadFrom(reader("abc")); n != 3 || err != nil {
				t.Errorf("set %04b: ReadFrom = %d, %v, want 3, nil", set, n, err)
			}
		}
		want = append(want, "Write")
		if _, err := w.Write([]byte("def")); err != nil {
			t.Errorf("set %04b: Write: %v", set, err)
		}
		if p, ok := w.(http.Hijacker); ok {
			want = append(want, "Hijack")
			if _, _, err := p.Hijack(); err != nil {
				t.Errorf("set %04b: Hijack: %v", set, err)
			}
		}
		if !slices.Equal(f.calls, want) {
			t.Errorf("set %04b: calls below are %v, want %v", set, f.calls, want)
		}
	}
}

func TestGuardNotSupported(t *testing.T) {
	t.Parallel()
	w := NewGuard(bare{newFake()}, get(), later).Writer()
	c := http.NewResponseController(w)
	_, _, hijack := c.Hijack()
	for name, err := range map[string]error{
		"Flush":            c.Flush(),
		"Hijack":           hijack,
		"SetReadDeadline":  c.SetReadDeadline(time.Now()),
		"SetWriteDeadline": c.SetWriteDeadline(time.Now()),
		"EnableFullDuplex": c.EnableFullDuplex(),
	} {
		if !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s = %v, want %v", name, err, http.ErrNotSupported)
		}
	}
}

// TestGuardModel has the handler without a guard as the model: whatever it does, a
// client is answered the same.
func TestGuardModel(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		var seed uint64
		var script []string
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			script = nil
			rng := rand.New(rand.NewPCG(seed, 0))
			if rng.IntN(3) == 0 {
				w.Header().Set("Trailer", "X-Sum")
			}
			for range rng.IntN(6) {
				script = append(script, randomStep(rng, w))
			}
			w.Header().Set("X-Sum", "1") // a trailer if it was declared and the header sent
			w.Header().Del("X-Outer")
		})
		outer := func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Outer", "value")
				w.Header().Set("Date", "today") // both answers have the same
				h.ServeHTTP(w, r)
			})
		}
		plain, guarded := serve(t, http2, outer(handler)), serve(t, http2, outer(guarding(handler)))
		for seed = range uint64(300) {
			want, err := fetch(t, plain, http.MethodGet)
			if err != nil {
				t.Fatalf("seed %d: %v: %v", seed, script, err)
			}
			got, err := fetch(t, guarded, http.MethodGet)
			if err != nil {
				t.Fatalf("seed %d: %v: guarded: %v", seed, script, err)
			}
			if got.status != want.status || got.body != want.body || got.length != want.length || !maps.EqualFunc(got.header, want.header, slices.Equal) {
				t.Errorf("seed %d: %v:\ngot  %d, %d bytes, length %d, %v\nwant %d, %d bytes, length %d, %v", seed, script,
					got.status, len(got.body), got.length, got.header, want.status, len(want.body), want.length, want.header)
			}
		}
	})
}

func TestGuardRevoke(t *testing.T) {
	t.Parallel()
	type w = http.ResponseWriter
	for _, tt := range []struct {
		name    string
		handler func(w)
		want    Progress
	}{
		{"nothing", func(w) {}, NotBegun},
		{"a header map", func(w w) { w.Header().Set("X-Inner", "1"); w.Header().Del("X-Outer") }, NotBegun},
		{"informational", func(w w) {
			w.Header().Set("X-Inner", "1")
			w.Header().Del("X-Outer")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("X-Inner", "2")
			w.WriteHeader(http.StatusEarlyHints)
		}, NotBegun},
		{"a deadline", func(w w) { _ = http.NewResponseController(w).SetReadDeadline(time.Time{}) }, NotBegun},
		{"a failed hijack", func(w w) { _, _, _ = http.NewResponseController(w).Hijack() }, NotBegun},
		{"status", func(w w) { w.WriteHeader(http.StatusNoContent) }, Begun},
		{"switching", func(w w) { w.WriteHeader(http.StatusSwitchingProtocols) }, Begun},
		{"write", func(w w) { _, _ = w.Write(nil) }, Begun},
		{"string", func(w w) { _, _ = io.WriteString(w, "") }, Begun},
		{"flush", func(w w) { w.(http.Flusher).Flush() }, Begun},
		{"copy of nothing", func(w w) { _, _ = io.Copy(w, reader("")) }, NotBegun},
		{"copy", func(w w) { _, _ = io.Copy(w, reader("abc")) }, Begun},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			rec := httptest.NewRecorder()
			rec.Header().Set("X-Outer", "1")
			before := rec.Header().Clone()
			g := NewGuard(rec, get(), later)
			writer := g.Writer()
			tt.handler(writer)
			if got := g.Revoke(); got != tt.want {
				t.Fatalf("Revoke() = %v, want %v", got, tt.want)
			}
			if tt.want == NotBegun && !maps.EqualFunc(rec.Header(), before, slices.Equal) {
				t.Errorf("header is %v, want %v as before the handler", rec.Header(), before)
			}
			header, body, code := rec.Header().Clone(), rec.Body.String(), rec.Code
			late(t, writer)
			if !maps.EqualFunc(rec.Header(), header, slices.Equal) || rec.Body.String() != body || rec.Code != code {
				t.Errorf("the handler has changed the answer: %d, %v, %q", rec.Code, rec.Header(), rec.Body)
			}
			if g.End(true) {
				t.Error("End says that nothing was taken back")
			}
			if got := g.Revoke(); got != Ended {
				t.Errorf("second Revoke() = %v, want %v", got, Ended)
			}
		})
	}
}

// late uses a writer that has been taken back in every way.
func late(t *testing.T, w http.ResponseWriter) {
	t.Helper()
	w.Header().Set("X-Late", "1")
	w.WriteHeader(http.StatusAccepted)
	w.WriteHeader(http.StatusEarlyHints)
	c := http.NewResponseController(w)
	_, write := w.Write([]byte("late"))
	_, text := io.WriteString(w, "late")
	_, copied := io.Copy(w, reader("late"))
	for name, err := range map[string]error{
		"Write": write, "WriteString": text, "Copy": copied, "Flush": c.Flush(),
		"SetReadDeadline": c.SetReadDeadline(time.Time{}), "SetWriteDeadline": c.SetWriteDeadline(time.Time{}),
		"EnableFullDuplex": c.EnableFullDuplex(),
	} {
		if !errors.Is(err, http.ErrHandlerTimeout) {
			t.Errorf("%s, late, = %v, want %v", name, err, http.ErrHandlerTimeout)
		}
	}
	if h, ok := w.(http.Hijacker); ok {
		if _, _, err := h.Hijack(); !errors.Is(err, http.ErrHandlerTimeout) {
			t.Errorf("Hijack, late, = %v, want %v", err, http.ErrHandlerTimeout)
		}
	}
	if p, ok := w.(http.Pusher); ok {
		if err := p.Push("/", nil); !errors.Is(err, http.ErrHandlerTimeout) {
			t.Errorf("Push, late, = %v, want %v", err, http.ErrHandlerTimeout)
		}
	}
}

func TestGuardLateCallsOfEveryMethod(t *testing.T) {
	t.Parallel()
	for set := range hasPush << 1 {
		f := newFake()
		if set&hasFlush == 0 {
			continue // late calls Flush, which is then not supported
		}
		g := NewGuard(combination(f, set), get(), later)
		w := g.Writer()
		g.Revoke()
		late(t, w)
		if len(f.calls) > 0 {
			t.Errorf("set %04b: calls below are %v, want none", set, f.calls)
		}
	}
}

// What a handler leaves behind when it returns reaches nothing.
func TestGuardEnd(t *testing.T) {
	t.Parallel()
	f := newFake()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body"))
	g := NewGuard(f, r, later)
	w, body := g.Writer(), g.Body()
	w.Header().Set("X-Inner", "1")
	if !g.End(true) {
		t.Fatal("End() = false, want true")
	}
	if f.header.Get("X-Inner") != "1" || len(f.calls) > 0 {
		t.Errorf("header is %v, calls are %v, want the handler's header and no call", f.header, f.calls)
	}
	if _, err := w.Write([]byte("late")); !errors.Is(err, errEnded) {
		t.Errorf("Write = %v, want %v", err, errEnded)
	}
	if n, err := body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errEnded) {
		t.Errorf("Read = %d, %v, want 0, %v", n, err, errEnded)
	}
	if got := g.Revoke(); got != Ended {
		t.Errorf("Revoke() = %v, want %v", got, Ended)
	}

	f = newFake()
	g = NewGuard(f, get(), later)
	g.Writer().Header().Set("X-Inner", "1")
	if g.End(false); len(f.header) > 0 {
		t.Errorf("header is %v after a panic, want that before the handler", f.header)
	}
}

// Nothing begins once the time is over, and a handler that returns later has not ended
// well.
func TestGuardWhenTheTimeIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, begun := range []bool{false, true} {
			f := newFake()
			g := NewGuard(f, get(), time.Now().Add(time.Second))
			w := g.Writer()
			if begun {
				w.WriteHeader(http.StatusOK)
			}
			time.Sleep(time.Second)
			calls := len(f.calls)
			late(t, w)
			if len(f.calls) > calls {
				t.Errorf("begun: %t: calls below are %v, want none that is late", begun, f.calls)
			}
			if g.End(true) {
				t.Errorf("begun: %t: End() = true, want false", begun)
			}
			wantProgress := NotBegun
			if begun {
				wantProgress = Begun
			}
			if got := g.Revoke(); got != wantProgress {
				t.Errorf("begun: %t: Revoke() = %v, want %v", begun, got, wantProgress)
			}
		}

		g := NewGuard(newFake(), get(), time.Now().Add(time.Second))
		_, _, _ = http.NewResponseController(g.Writer()).Hijack()
		time.Sleep(time.Second)
		if got := g.Revoke(); got != Hijacked || !g.End(true) {
			t.Errorf("hijacked: Revoke() = %v, want %v and a good end", got, Hijacked)
		}

		g = NewGuard(newFake(), get(), time.Now())
		if !g.End(false) {
			t.Error("a panic has no effect once the time is over, want one as long as nobody has answered")
		}
	})
}

// blocking is a writer whose calls wait.
type blocking struct {
	*fake
	entered, release chan struct{}
}

func (b *blocking) Write(p []byte) (int, error) {
	b.entered <- struct{}{}
	<-b.release
	return b.fake.Write(p)
}

func (b *blocking) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	b.entered <- struct{}{}
	<-b.release
	local, _ := net.Pipe()
	return local, nil, nil
}

func TestGuardWaitsForCallsInProgress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		call func(http.ResponseWriter) error
		take func(*Guard) Progress
		want Progress
	}{
		{"revoke a write", func(w http.ResponseWriter) error { _, err := w.Write(nil); return err }, (*Guard).Revoke, Begun},
		{"revoke a hijack", func(w http.ResponseWriter) error {
			_, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, err = w.Write(nil) // its error is net/http's affair
			}
			return err
		}, (*Guard).Revoke, Hijacked},
		{"end with a write", func(w http.ResponseWriter) error { _, err := w.Write(nil); return err }, func(g *Guard) Progress {
			if g.End(true) {
				return Ended
			}
			return NotBegun
		}, Ended},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := &blocking{fake: newFake(), entered: make(chan struct{}, 2), release: make(chan struct{})}
				g := NewGuard(b, get(), later)
				called, taken := make(chan error, 1), make(chan Progress, 1)
				go func() { called <- tt.call(g.Writer()) }()
				<-b.entered
				go func() { taken <- tt.take(g) }()
				synctest.Wait()
				select {
				case p := <-taken:
					t.Fatalf("taken back with %v while a call is in progress", p)
				default:
				}
				close(b.release)
				if got := <-taken; got != tt.want {
					t.Errorf("taken back with %v, want %v", got, tt.want)
				}
				if err := <-called; err != nil {
					t.Errorf("the call in progress = %v, want nil: it got through", err)
				}
			})
		})
	}
}

// The source of a copy may keep its reader waiting, and nobody else.
func TestGuardCopyFromASlowSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, fill := io.Pipe()
		g := NewGuard(newFake(), get(), later)
		copied := make(chan error, 1)
		go func() {
			_, err := io.Copy(g.Writer(), source)
			copied <- err
		}()
		_, _ = fill.Write([]byte("part"))
		synctest.Wait()
		if got := g.Revoke(); got != Begun {
			t.Errorf("Revoke() = %v, want %v", got, Begun)
		}
		_, _ = fill.Write([]byte("more"))
		if err := <-copied; !errors.Is(err, http.ErrHandlerTimeout) {
			t.Errorf("Copy = %v, want %v", err, http.ErrHandlerTimeout)
		}
	})
}

func TestGuardLeavesFilesToTheWriterBelow(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file.txt")
	if err := os.WriteFile(name, bytes.Repeat([]byte("x"), 3*probeBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int64{0, 3 * probeBytes} {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		src := io.Reader(file)
		if limit > 0 {
			src = io.LimitReader(file, limit)
		}
		below := &sources{fake: newFake()}
		g := NewGuard(below, get(), later)
		w := g.Writer()
		if n, err := w.(io.ReaderFrom).ReadFrom(src); n != 3*probeBytes || err != nil {
			t.Errorf("ReadFrom = %d, %v, want %d, nil", n, err, 3*probeBytes)
		}
		if len(below.got) != 1 || below.got[0] != src {
			t.Errorf("the writer below got %v, want the source itself", below.got)
		}
		g.Revoke()
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if n, err := w.(io.ReaderFrom).ReadFrom(file); n != 0 || !errors.Is(err, http.ErrHandlerTimeout) {
			t.Errorf("ReadFrom, late, = %d, %v, want 0, %v", n, err, http.ErrHandlerTimeout)
		}
	}

	empty := filepath.Join(t.TempDir(), "empty.txt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(empty)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	f := newFake()
	g := NewGuard(f, get(), later)
	if n, err := g.Writer().(io.ReaderFrom).ReadFrom(file); n != 0 || err != nil || len(f.calls) > 0 {
		t.Errorf("ReadFrom of an empty file = %d, %v with calls %v, want 0, nil and none", n, err, f.calls)
	}
	if got := g.Revoke(); got != NotBegun {
		t.Errorf("after an empty file Revoke() = %v, want %v", got, NotBegun)
	}
}

func TestGuardBody(t *testing.T) {
	t.Parallel()
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		r := get()
		r.Body = body
		if got := NewGuard(newFake(), r, later).Body(); got != body {
			t.Errorf("body is %T, want %T as it was", got, body)
		}
	}
	post := func(body io.Reader) *http.Request { return httptest.NewRequest(http.MethodPost, "/", body) }

	f := newFake()
	g := NewGuard(f, post(strings.NewReader("body")), later)
	body := g.Body()
	if got, err := io.ReadAll(body); string(got) != "body" || err != nil {
		t.Errorf("read %q, %v, want body", got, err)
	}
	if g.Revoke(); f.header.Get("Connection") != "" {
		t.Error("a connection whose request has been read is closed")
	}
	if n, err := body.Read(make([]byte, 1)); n != 0 || !errors.Is(err, http.ErrHandlerTimeout) {
		t.Errorf("Read, late, = %d, %v, want 0, %v", n, err, http.ErrHandlerTimeout)
	}
	if err := body.Close(); !errors.Is(err, http.ErrHandlerTimeout) {
		t.Errorf("Close, late, = %v, want %v", err, http.ErrHandlerTimeout)
	}

	for major, want := range map[int]string{1: "close", 2: ""} {
		f := newFake()
		r := post(iotest.OneByteReader(strings.NewReader("body")))
		r.ProtoMajor = major
		g := NewGuard(f, r, later)
		if _, err := g.Body().Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if g.Revoke(); f.header.Get("Connection") != want {
			t.Errorf("HTTP/%d: Connection is %q, want %q", major, f.header.Get("Connection"), want)
		}
	}
}

// A body that no deadline reaches may block, and what it reads afterwards is nobody's.
func TestGuardBodyWithoutDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source, fill := io.Pipe()
		g := NewGuard(newFake(), httptest.NewRequest(http.MethodPost, "/", source), later)
		got := make(chan error, 1)
		n := 0
		go func() {
			var err error
			n, err = g.Body().Read(make([]byte, 10))
			got <- err
		}()
		synctest.Wait()
		if p := g.Revoke(); p != NotBegun {
			t.Errorf("Revoke() = %v, want %v", p, NotBegun)
		}
		_, _ = fill.Write([]byte("late"))
		if err := <-got; n != 0 || !errors.Is(err, http.ErrHandlerTimeout) {
			t.Errorf("Read = %d, %v, want 0, %v", n, err, http.ErrHandlerTimeout)
		}
	})
}
