package deadline

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

// tripper is a function that is a round tripper.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// tracked notes whether it was closed.
type tracked struct {
	io.Reader
	closed bool
}

func (b *tracked) Close() error { b.closed = true; return nil }

// TestTransportPassesOn has a row for each relation of what is left and what is taken
// off.
func TestTransportPassesOn(t *testing.T) {
	const limit = time.Second
	type fields = []string
	for _, tt := range []struct {
		name    string
		o       Options
		brings  time.Duration // of the context; zero means no deadline
		field   fields        // as it was before
		want    string        // empty means no field; "refused" means that it is
		within  time.Duration
		counted Stats
	}{
		{"the limit", Options{}, 0, nil, "990", limit, Stats{Done: 1}},
		{"what is there is replaced", Options{}, 0, fields{"1", "2"}, "990", limit, Stats{Done: 1}},
		{"a later deadline", Options{}, time.Hour, nil, "990", limit, Stats{Done: 1}},
		{"an earlier deadline", Options{}, 300 * time.Millisecond, nil, "290", 300 * time.Millisecond, Stats{Done: 1}},
		{"an earlier deadline, in a hurry", Options{}, 50 * time.Millisecond, nil, "45", 50 * time.Millisecond, Stats{Done: 1}},
		{"rounded down", Options{}, 2300 * time.Microsecond, nil, "2", 2300 * time.Microsecond, Stats{Done: 1}},
		{"another margin", Options{Margin: 100 * time.Millisecond}, 0, nil, "900", limit, Stats{Done: 1}},
		{"no margin", Options{Margin: -1}, 0, nil, "1000", limit, Stats{Done: 1}},
		{"expired", Options{}, -1, nil, "refused", 0, Stats{Refused: 1}},
		{"less than a millisecond", Options{}, time.Millisecond, nil, "refused", 0, Stats{Refused: 1}},
		{"all margin", Options{Margin: 100 * time.Millisecond}, 100 * time.Millisecond, nil, "refused", 0, Stats{Refused: 1}},
		{"not enough", Options{MinRemaining: 100 * time.Millisecond}, 109 * time.Millisecond, nil, "refused", 0, Stats{Refused: 1}},
		{"just enough", Options{MinRemaining: 100 * time.Millisecond}, 110 * time.Millisecond, nil, "100", 110 * time.Millisecond, Stats{Done: 1}},
		{"shadow", Options{Mode: uprung.Shadow}, 0, fields{"1"}, "1", 0, Stats{Done: 1}},
		{"shadow, expired", Options{Mode: uprung.Shadow}, -1, nil, "", -1, Stats{ShadowRefused: 1}},
		{"off", Options{Mode: uprung.Off}, -1, nil, "", -1, Stats{}},
		{"exempt", Options{Skip: everybody}, -1, nil, "", -1, Stats{}},
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
				body := &tracked{Reader: strings.NewReader("body")}
				req := newRequest(t, ctx)
				req.Body = body
				if tt.field != nil {
					req.Header[DefaultHeader] = tt.field
				}
				asked := false
				resp, err := d.Transport(tripper(func(r *http.Request) (*http.Response, error) {
					asked = true
					if got := strings.Join(r.Header[DefaultHeader], ","); got != tt.want {
						t.Errorf("the field is %q, want %q", got, tt.want)
					}
					if left, ok := Remaining(r.Context()); left != tt.within || ok != (tt.within != 0) {
						t.Errorf("base has %v, %t, want %v", left, ok, tt.within)
					}
					return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
				})).RoundTrip(req)
				if refused := tt.want == "refused"; refused != !asked || refused != (err != nil) || refused != (resp == nil) || refused != body.closed {
					t.Errorf("base was asked: %t, the body closed: %t, error %v, want a refusal: %t", asked, body.closed, err, refused)
				}
				if err != nil {
					rejection, _ := errors.AsType[*uprung.Rejection](err)
					if rejection == nil || !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrExpired) {
						t.Errorf("error is %v, want a rejection for time", err)
					}
				}
				if strings.Join(req.Header[DefaultHeader], ",") != strings.Join(tt.field, ",") {
					t.Errorf("the caller's request has %q now", req.Header[DefaultHeader])
				}
				waits()
				if got := d.Stats(); got != tt.counted {
					t.Errorf("counted %+v, want %+v", got, tt.counted)
				}
			})
		})
	}
}

// TestTransportBoundsTheWhole has a row for each part of an exchange that takes too
// long.
func TestTransportBoundsTheWhole(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    uprung.Mode
		header  time.Duration // until the header is there
		body    time.Duration // and then the body
		wantErr bool          // of the call
		wantCut bool          // of the body
		counted Stats
	}{
		{"in time", uprung.Enforce, 400 * time.Millisecond, 400 * time.Millisecond, false, false, Stats{Done: 1}},
		{"no header", uprung.Enforce, 2 * time.Second, 0, true, false, Stats{Exceeded: 1}},
		{"no body", uprung.Enforce, 400 * time.Millisecond, 2 * time.Second, false, true, Stats{Cut: 1}},
		{"no header, in shadow", uprung.Shadow, 2 * time.Second, 0, false, false, Stats{ShadowExceeded: 1}},
		{"no body, in shadow", uprung.Shadow, 400 * time.Millisecond, 2 * time.Second, false, false, Stats{ShadowExceeded: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bothProtocols(t, func(t *testing.T, p http.Protocols) {
				d := mustNew(t, time.Second, &Options{Mode: tt.mode})
				rt := d.Transport(serve(t, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					wait := func(d time.Duration) bool {
						select {
						case <-time.After(d):
							return true
						case <-r.Context().Done():
							return false
						}
					}
					if wait(tt.header) {
						_, _ = io.WriteString(w, "begun, ")
						_ = http.NewResponseController(w).Flush()
						if wait(tt.body) {
							_, _ = io.WriteString(w, "done")
						}
					}
				})))
				start := time.Now()
				resp, err := rt.RoundTrip(newRequest(t, t.Context()))
				if (err != nil) != tt.wantErr || err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("error is %v, want one of time: %t", err, tt.wantErr)
				}
				if err == nil {
					got, err := io.ReadAll(resp.Body)
					if (err != nil) != tt.wantCut || err != nil && !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("read %q, %v, want an error of time: %t", got, err, tt.wantCut)
					}
					if want := "begun, done"; err == nil && string(got) != want {
						t.Errorf("read %q, want %q", got, want)
					}
					_ = resp.Body.Close()
				}
				if took := time.Since(start); (tt.wantErr || tt.wantCut) && took != time.Second {
					t.Errorf("the error came after %v, want 1s", took)
				}
				waits()
				if got := d.Stats(); got != tt.counted {
					t.Errorf("counted %+v, want %+v", got, tt.counted)
				}
			})
		})
	}
}

// http.Client reports a timeout as one.
func TestTransportUnderAClient(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client := &http.Client{Transport: mustNew(t, time.Second, nil).Transport(serve(t, http1(), sleeps(time.Minute)))}
		resp, err := client.Get(origin)
		if err == nil {
			_ = resp.Body.Close()
		}
		if slow, ok := errors.AsType[*url.Error](err); !ok || !slow.Timeout() {
			t.Errorf("error is %v, want a timeout of the client's", err)
		}
	})
}

// A response whose body nobody reads or closes keeps nothing beyond its deadline.
func TestTransportForgottenBody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Second, nil)
		rt := d.Transport(tripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("body"))}, nil
		}))
		if _, err := rt.RoundTrip(newRequest(t, t.Context())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		waits()
		if got := d.Stats(); got != (Stats{Cut: 1}) {
			t.Errorf("counted %+v, want one that was cut", got)
		}
	})
}

// An upgraded connection has no end by which it could be bounded.
func TestTransportDoesNotCutUpgradedConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := mustNew(t, time.Second, nil)
		ended := make(chan struct{})
		base := serve(t, http1(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer close(ended)
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_, _ = io.Copy(conn, struct{ io.Reader }{rw})
		}))
		conn, ok := get(t, d.Transport(base), "Connection", "Upgrade", "Upgrade", "echo").Body.(io.ReadWriteCloser)
		if !ok {
			t.Fatal("the body cannot be written to")
		}
		for range 3 {
			time.Sleep(time.Second)
			if _, err := io.WriteString(conn, "ping"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.Close()
		<-ended
		if got := d.Stats(); got != (Stats{Done: 1}) {
			t.Errorf("counted %+v, want one request done", got)
		}
	})
}

func TestTransportPanicOfTheBase(t *testing.T) {
	t.Parallel()
	var ctx context.Context
	d := mustNew(t, time.Minute, nil)
	rt := d.Transport(tripper(func(r *http.Request) (*http.Response, error) {
		ctx = r.Context()
		panic("base")
	}))
	func() {
		defer func() {
			if v := recover(); v != "base" {
				t.Errorf("panic is %v, want that of the base", v)
			}
		}()
		_, _ = rt.RoundTrip(newRequest(t, t.Context()))
	}()
	if ctx.Err() == nil || d.Stats().Done != 1 {
		t.Errorf("the context lives on (%v), or the request is not counted: %+v", ctx.Err(), d.Stats())
	}
}

func TestTransportIsALayer(t *testing.T) {
	t.Parallel()
	base := &http.Transport{}
	rt := mustNew(t, time.Second, &Options{Name: "calls", Margin: -1, MinRemaining: 5 * time.Millisecond}).Transport(base)
	want := `deadline "calls"
    Limit         1s
    Mode          enforce (default)
    Margin        none
    Key           the host of the URL (default)
    Header        Uprung-Timeout-Ms (default)
    MinRemaining  5ms
    Skip          none (default)
unknown below deadline "calls": *http.Transport
`
	if got := uprung.ExplainTransport(rt); got != want {
		t.Errorf("ExplainTransport =\n%swant\n%s", got, want)
	}
	rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	if got := mustNew(t, time.Second, nil).Transport(nil).(interface{ Unwrap() http.RoundTripper }).Unwrap(); got != http.DefaultTransport {
		t.Errorf("without a base there is %v below, want http.DefaultTransport", got)
	}
	retries := uprung.NamedTransport(uprung.Layer{Kind: uprung.KindRetry}, func(rt http.RoundTripper) http.RoundTripper { return rt })
	if err := uprung.VetTransport(mustNew(t, 1, nil).Transport(retries(base))).Err(); err != nil {
		t.Errorf("outside of retries: %v", err)
	}
	if err := uprung.VetTransport(retries(mustNew(t, 1, nil).Transport(base))).Err(); err == nil {
		t.Error("inside of retries nothing is found")
	}
}
