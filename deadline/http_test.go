package deadline

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

// TestMiddleware has a row for what a request brings and how long its handler takes.
func TestMiddleware(t *testing.T) {
	const limit = time.Second
	type fields = []string
	for _, tt := range []struct {
		name    string
		o       Options
		fields  fields
		brings  time.Duration // of the context; zero means no deadline
		handler http.Handler
		status  int
		took    time.Duration
		counted Stats
	}{
		{"in time", Options{}, nil, 0, sleeps(limit - 1), 200, limit - 1, Stats{Done: 1}},
		{"too late", Options{}, nil, 0, sleeps(2 * limit), 504, limit, Stats{Exceeded: 1}},
		{"too late, and deaf", Options{}, nil, 0, deaf(2 * limit), 504, limit, Stats{Exceeded: 1, Late: 1}},
		{"an earlier deadline of the context", Options{}, nil, limit / 2, sleeps(limit), 504, limit / 2, Stats{Exceeded: 1}},
		{"an expired context", Options{}, nil, -1, sleeps(0), 504, 0, Stats{Refused: 1}},

		{"untrusted", Options{}, fields{DefaultHeader, "500"}, 0, sleeps(limit - 1), 200, limit - 1, Stats{Done: 1}},
		{"untrusted and expired", Options{}, fields{DefaultHeader, "0"}, 0, sleeps(0), 200, 0, Stats{Done: 1}},
		{"trusted", Options{Trust: everybody}, fields{DefaultHeader, "500"}, 0, sleeps(limit), 504, limit / 2, Stats{Exceeded: 1}},
		{"trusted, by another name", Options{Trust: everybody, Header: "connect-timeout-ms"}, fields{"Connect-Timeout-Ms", "500"}, 0, sleeps(limit), 504, limit / 2, Stats{Exceeded: 1}},
		{"trusted, none", Options{Trust: everybody}, nil, 0, sleeps(limit - 1), 200, limit - 1, Stats{Done: 1}},
		{"trusted, never longer", Options{Trust: everybody}, fields{DefaultHeader, "5000"}, 0, sleeps(2 * limit), 504, limit, Stats{Exceeded: 1}},
		{"trusted, endless", Options{Trust: everybody}, fields{DefaultHeader, "9999999999"}, 0, sleeps(2 * limit), 504, limit, Stats{Exceeded: 1}},
		{"trusted and expired", Options{Trust: everybody}, fields{DefaultHeader, "0"}, 0, sleeps(0), 504, 0, Stats{Refused: 1}},
		{"trusted and absurd", Options{Trust: everybody}, fields{DefaultHeader, "99999999999999999999"}, 0, sleeps(limit - 1), 200, limit - 1, Stats{Done: 1, Malformed: 1}},
		{"trusted and negative", Options{Trust: everybody}, fields{DefaultHeader, "-5"}, 0, sleeps(0), 200, 0, Stats{Done: 1, Malformed: 1}},
		{"trusted, not enough", Options{Trust: everybody, MinRemaining: 100 * time.Millisecond}, fields{DefaultHeader, "99"}, 0, sleeps(0), 504, 0, Stats{Refused: 1}},
		{"trusted, just enough", Options{Trust: everybody, MinRemaining: 100 * time.Millisecond}, fields{DefaultHeader, "100"}, 0, sleeps(0), 200, 0, Stats{Done: 1}},

		{"exempt", Options{Skip: everybody}, nil, 0, sleeps(2 * limit), 200, 2 * limit, Stats{}},
		{"off", Options{Mode: uprung.Off}, nil, 0, sleeps(2 * limit), 200, 2 * limit, Stats{}},
		{"shadow", Options{Mode: uprung.Shadow}, nil, 0, sleeps(limit - 1), 200, limit - 1, Stats{Done: 1}},
		{"shadow, too late", Options{Mode: uprung.Shadow}, nil, 0, sleeps(2 * limit), 200, 2 * limit, Stats{ShadowExceeded: 1}},
		{"shadow, expired", Options{Mode: uprung.Shadow, Trust: everybody}, fields{DefaultHeader, "0"}, 0, sleeps(0), 200, 0, Stats{ShadowRefused: 1}},
		{"percent, for all others", Options{Mode: uprung.Percent(0.01), Key: func(*http.Request) (string, bool) { return "a", true }}, nil, 0, sleeps(2 * limit), 200, 2 * limit, Stats{ShadowExceeded: 1}},
		{"percent, for nearly all", Options{Mode: uprung.Percent(99.99)}, nil, 0, sleeps(2 * limit), 504, limit, Stats{Exceeded: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := mustNew(t, limit, &tt.o)
				ctx := t.Context()
				if tt.brings != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.brings)
					defer cancel()
				}
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
				for i := 0; i < len(tt.fields); i += 2 {
					r.Header.Set(tt.fields[i], tt.fields[i+1])
				}
				start := time.Now()
				w := send(d.Middleware(tt.handler), r)
				if took := time.Since(start); w.Code != tt.status || took != tt.took {
					t.Errorf("status is %d after %v, want %d after %v", w.Code, took, tt.status, tt.took)
				}
				if w.Code == 504 && w.Header().Get("Content-Type") != "application/problem+json" {
					t.Errorf("the answer is %q, want a problem document", w.Header().Get("Content-Type"))
				}
				waits()
				if got := d.Stats(); got != tt.counted {
					t.Errorf("counted %+v, want %+v", got, tt.counted)
				}
				time.Sleep(2 * limit)
				if late := d.Stats().Late; late != 0 {
					t.Errorf("%d handlers are late after all have ended, want 0", late)
				}
			})
		})
	}
}

func TestTheTwoProblemsAreToldApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Second, &Options{Trust: everybody})
		h := d.Middleware(sleeps(time.Minute))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if body := send(h, r).Body.String(); !strings.Contains(body, "The answer was not ready in time.") {
			t.Errorf("too late is answered %s", body)
		}
		r.Header.Set(DefaultHeader, "0")
		if body := send(h, r).Body.String(); !strings.Contains(body, "Too little time was left") {
			t.Errorf("expired is answered %s", body)
		}
	})
}

func TestRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var got []error
		d := mustNew(t, time.Second, &Options{Trust: everybody, Refused: func(w http.ResponseWriter, _ *http.Request, err error) {
			got = append(got, err)
			w.WriteHeader(http.StatusTeapot)
		}})
		defer time.Sleep(time.Minute) // until the handler ends
		h := d.Middleware(deaf(time.Minute))
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if code := send(h, r).Code; code != http.StatusTeapot {
			t.Errorf("status is %d, want 418", code)
		}
		r.Header.Set(DefaultHeader, "0")
		if code := send(h, r).Code; code != http.StatusTeapot {
			t.Errorf("status is %d, want 418", code)
		}
		if len(got) != 2 || !errors.Is(got[0], ErrExceeded) || !errors.Is(got[1], ErrExpired) {
			t.Errorf("errors are %v, want %v and %v", got, ErrExceeded, ErrExpired)
		}
		if _, rejected := errors.AsType[*uprung.Rejection](got[1]); !rejected {
			t.Errorf("%v is no rejection", got[1])
		}
	})
}

func TestContextOfTheHandler(t *testing.T) {
	bubble(t, func(t *testing.T) {
		type key struct{}
		var left time.Duration
		var value any
		cause := make(chan error, 1)
		h := mustNew(t, time.Second, nil).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			left, _ = Remaining(r.Context())
			value = r.Context().Value(key{})
			<-r.Context().Done()
			cause <- context.Cause(r.Context())
		}))
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), key{}, "value"), http.MethodGet, "/", nil)
		send(h, r)
		if got := <-cause; !errors.Is(got, ErrExceeded) {
			t.Errorf("the cause is %v, want %v", got, ErrExceeded)
		}
		if left != time.Second || value != "value" {
			t.Errorf("the handler had %v and the value %v, want 1s and that of the request", left, value)
		}
	})
}

// Headers that were set further out are seen, can be changed, and are there again if
// the handler did not answer.
func TestHeadersOfOuterLayers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		outer := func(next http.Handler) *httptest.ResponseRecorder {
			h := mustNew(t, time.Second, nil).Middleware(next)
			return send(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Request-Id", "7")
				w.Header().Set("Vary", "Origin")
				h.ServeHTTP(w, r)
			}), httptest.NewRequest(http.MethodGet, "/", nil))
		}
		w := outer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Vary", "Accept")
			w.Header().Set("X-Inner", w.Header().Get("X-Request-Id"))
			w.Header().Del("X-Request-Id")
		}))
		if got := fmt.Sprint(w.Result().Header); got != "map[Vary:[Origin Accept] X-Inner:[7]]" {
			t.Errorf("header is %s, want what the handler made of it", got)
		}
		w = outer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("X-Inner", "1")
			w.Header().Del("X-Request-Id")
			<-r.Context().Done()
		}))
		if h := w.Header(); w.Code != 504 || h.Get("X-Request-Id") != "7" || h.Get("Vary") != "Origin" || h.Get("X-Inner") != "" {
			t.Errorf("answer is %d with %v, want 504 with the outer header and nothing of the handler's", w.Code, h)
		}
	})
}

// Goexit ends the goroutine that serves, as it would without the middleware.
func TestGoexitGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := mustNew(t, time.Second, nil).Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() }))
		ended := make(chan any)
		go func() {
			returned := false
			defer func() { ended <- fmt.Sprint(returned, recover()) }()
			send(h, httptest.NewRequest(http.MethodGet, "/", nil))
			returned = true
		}()
		if got := <-ended; got != "false <nil>" {
			t.Errorf("returned, panic: %v, want false <nil>", got)
		}
	})
}

// A connection that was taken over is the handler's, also after the deadline.
func TestHijackedConnectionIsNotCutOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Second, nil)
		ended := make(chan struct{})
		transport := serve(t, http1(), d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer close(ended)
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(conn, struct{ io.Reader }{rw})
		})))
		resp := get(t, transport, "Connection", "Upgrade", "Upgrade", "echo")
		conn, ok := resp.Body.(io.ReadWriteCloser)
		if !ok {
			t.Fatalf("status %d, and a body that is a %T", resp.StatusCode, resp.Body)
		}
		for range 3 {
			time.Sleep(time.Second)
			if _, err := io.WriteString(conn, "ping\n"); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(conn).ReadString('\n'); line != "ping\n" || err != nil {
				t.Fatalf("read %q, %v, want ping", line, err)
			}
		}
		_ = conn.Close()
		<-ended
		waits()
		if got := d.Stats(); got != (Stats{Done: 1}) {
			t.Errorf("counted %+v, want one request done", got)
		}
	})
}

// The rest of an upload holds up no answer, and a connection in good order is kept.
func TestAnswerDuringUpload(t *testing.T) {
	bothProtocols(t, func(t *testing.T, p http.Protocols) {
		d := mustNew(t, time.Second, nil)
		transport := serve(t, p, d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.Copy(io.Discard, r.Body)
			if err == nil {
				err = errors.New("a whole body")
			}
			if _, late := r.Body.Read(make([]byte, 1)); err == nil || !errors.Is(late, http.ErrHandlerTimeout) {
				t.Errorf("reading = %v, and again %v, want errors, the second %v", err, late, http.ErrHandlerTimeout)
			}
		})))
		body, upload := io.Pipe()
		var uploading sync.WaitGroup
		defer uploading.Wait()
		uploading.Go(func() {
			for range 100 {
				if _, err := upload.Write([]byte("part")); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			_ = upload.Close()
		})
		start := time.Now()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, origin, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if took := time.Since(start); resp.StatusCode != 504 || took != time.Second {
			t.Errorf("status is %d after %v, want 504 after 1s", resp.StatusCode, took)
		}
		if got := text(t, resp); !strings.Contains(got, `"status":504`) {
			t.Errorf("body is %q", got)
		}
		waits()
		if late := d.Stats().Late; late != 0 {
			t.Errorf("%d handlers are late, want none that is stuck in its body", late)
		}
	})
}

// Files of a form that the handler has parsed are removed, as net/http would have.
func TestMultipartFilesAreRemoved(t *testing.T) {
	t.Parallel()
	var body strings.Builder
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "name")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(make([]byte, 1<<16))
	_ = form.Close()
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body.String()))
	r.Header.Set("Content-Type", form.FormDataContentType())
	var file string
	h := mustNew(t, time.Minute, nil).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(0); err != nil {
			t.Error(err)
			return
		}
		f, err := r.MultipartForm.File["file"][0].Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = f.Close() }()
		if onDisk, ok := f.(*os.File); ok {
			file = onDisk.Name()
		}
	}))
	if code := send(h, r).Code; code != 200 || file == "" {
		t.Fatalf("status is %d, and the file is %q, want 200 and one on disk", code, file)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("Stat(%q) = %v, want none such", file, err)
	}
}

func TestMiddlewareIsALayer(t *testing.T) {
	t.Parallel()
	app := http.NotFoundHandler()
	h := mustNew(t, time.Second, &Options{Name: "requests", Trust: everybody}).Middleware(app)
	want := `deadline "requests"
    Limit         1s
    Mode          enforce (default)
    Trust         a function
    Key           key.Direct (default)
    Refused       problem document (default)
    Header        Uprung-Timeout-Ms (default)
    MinRemaining  0s (default)
    Skip          none (default)
unknown below deadline "requests": http.HandlerFunc
`
	if got := uprung.Explain(h); got != want {
		t.Errorf("Explain =\n%swant\n%s", got, want)
	}
	if _, ok := h.(interface{ Unwrap() http.Handler }).Unwrap().(http.HandlerFunc); !ok {
		t.Error("Unwrap returns something else than the handler")
	}
}

// What a handler does in the moment in which its time is over is not left to chance: it
// does not answer any more, whichever goroutine wakes up first.
func TestTheDeadlineItself(t *testing.T) {
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		status  int // zero means none, the response is cut off
	}{
		"stops without an answer": {func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, 504},
		"answers by itself": {func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusServiceUnavailable)
		}, 504},
		"stops in the middle": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "the beginning")
			<-r.Context().Done()
		}, 0},
		"goes on": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "the beginning")
			<-r.Context().Done()
			_, _ = io.WriteString(w, ", and the end")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := mustNew(t, time.Second, nil)
				h := d.Middleware(tt.handler)
				for range 100 {
					func() {
						defer func() {
							if v := recover(); (v != nil) != (tt.status == 0) {
								t.Errorf("panic %v, want a cut response: %t", v, tt.status == 0)
							}
						}()
						if code := send(h, httptest.NewRequest(http.MethodGet, "/", nil)).Code; code != tt.status {
							t.Errorf("status is %d, want %d", code, tt.status)
						}
					}()
				}
				waits()
				want := Stats{Exceeded: 100}
				if tt.status == 0 {
					want = Stats{Cut: 100}
				}
				if got := d.Stats(); got != want {
					t.Errorf("counted %+v, want %+v", got, want)
				}
			})
		})
	}
}
