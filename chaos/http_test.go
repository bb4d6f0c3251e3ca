package chaos

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/middlewaretest"
)

func TestMiddlewareKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	off := uprung.Must(New([]Fault{{Name: "all", Reset: true}}, nil))
	middlewaretest.Run(t, off.Middleware, &middlewaretest.Options{
		Refusing: must(t, nil, Fault{Name: "all", Status: 503, RetryAfter: time.Second}).Middleware,
	})
}

func TestMiddlewareInShadowKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	middlewaretest.Run(t, must(t, &Options{Mode: uprung.Shadow}, Fault{Name: "all", Reset: true}).Middleware, nil)
}

func TestTransportKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	off := uprung.Must(New([]Fault{{Name: "all", Reset: true}}, nil))
	middlewaretest.RunTransport(t, off.Transport, &middlewaretest.TransportOptions{
		Refusing: must(t, nil, Fault{Name: "all", Reset: true}).Transport,
	})
}

// What is only delayed is whole, in all that it is.
func TestDelayChangesNothingElse(t *testing.T) {
	t.Parallel()
	i := must(t, nil, Fault{Name: "late", Delay: Fixed(time.Millisecond)})
	middlewaretest.Run(t, i.Middleware, nil)
	middlewaretest.RunTransport(t, i.Transport, nil)
	if s := i.Stats(); s.Faults[0].Injected == 0 || s.Active != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// Both faces, and what each fault does to what a client sees.
func TestFaultsAreWhatTheySay(t *testing.T) {
	const body = "0123456789abcdefghijklmnopqrstuvwxyz"
	type seen struct {
		status      int
		mark, retry string
		body        string
		atBody      error
		took        time.Duration
	}
	for _, tt := range []struct {
		name  string
		fault Fault
		want  seen
	}{
		{"delay", Fault{Delay: Fixed(time.Second)}, seen{status: 200, mark: "f", body: body, took: time.Second}},
		{"status", Fault{Status: 503, RetryAfter: 1500 * time.Millisecond}, seen{status: 503, mark: "f", retry: "2"}},
		{"status, late", Fault{Status: 418, Delay: Fixed(time.Minute)}, seen{status: 418, mark: "f", took: time.Minute}},
		{"slow body", Fault{Body: Body{Rate: 9}}, seen{status: 200, mark: "f", body: body, took: 4 * time.Second}},
		{"truncated", Fault{Body: Body{Truncate: 10}}, seen{status: 200, mark: "f", body: body[:10], atBody: io.ErrUnexpectedEOF}},
		{"nothing of it", Fault{Body: Body{Truncate: -1}}, seen{status: 200, mark: "f", atBody: io.ErrUnexpectedEOF}},
		{"longer than it", Fault{Body: Body{Truncate: 100}}, seen{status: 200, mark: "f", body: body}},
		{"corrupt", Fault{Body: Body{Corrupt: 1}}, seen{status: 200, mark: "f", body: flipped(body)}},
	} {
		for _, face := range []string{"handler", "transport"} {
			t.Run(tt.name+"/"+face, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					fault := tt.fault
					fault.Name = "f"
					i := must(t, nil, fault)
					var client *http.Client
					if face == "handler" {
						client = serve(t, i.Middleware(saying(body)))
					} else {
						client = serve(t, saying(body))
						client.Transport = i.Transport(client.Transport)
					}
					begin := time.Now()
					resp, err := get(t.Context(), client)
					if err != nil {
						t.Fatal(err)
					}
					got := seen{status: resp.StatusCode, mark: resp.Header.Get(MarkField), retry: resp.Header.Get("Retry-After")}
					text, err := io.ReadAll(resp.Body)
					got.atBody, got.took = err, time.Since(begin).Round(time.Millisecond)
					if tt.fault.Status == 0 {
						got.body = string(text)
					}
					if err := resp.Body.Close(); err != nil {
						t.Error(err)
					}
					if tt.want.atBody != nil && errors.Is(got.atBody, tt.want.atBody) {
						got.atBody = tt.want.atBody
					}
					if got != tt.want {
						t.Errorf("got  %+v\nwant %+v", got, tt.want)
					}
					if s := i.Stats(); s.Active != 0 || s.Faults[0].Injected != 1 {
						t.Errorf("stats are %+v", s)
					}
				})
			})
		}
	}
}

func flipped(s string) string {
	p := []byte(s)
	for at := range p {
		p[at] ^= 0x55
	}
	return string(p)
}

// Of a thousand bytes, one in a hundred is another, at the same places in each run.
func TestCorruptionIsRare(t *testing.T) {
	bubble(t, func(t *testing.T) {
		body := strings.Repeat("x", 10_000)
		read := func() string {
			i := must(t, &Options{Seed: 1}, Fault{Name: "f", Body: Body{Corrupt: 100}})
			client := serve(t, i.Middleware(saying(body)))
			resp, err := get(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		first := read()
		if n := len(body) - strings.Count(first, "x"); len(first) != len(body) || n < 60 || n > 140 {
			t.Errorf("%d of %d bytes are others, want about 100", n, len(first))
		}
		if read() != first {
			t.Error("another run damages others")
		}
	})
}

// Over real connections: only they can be reset.
func TestReset(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(must(t, nil, Fault{Name: "f", Reset: true}).Middleware(saying("real")))
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("over HTTP/1.1 it is %v, want a reset", err)
	}

	second := httptest.NewUnstartedServer(must(t, nil, Fault{Name: "f", Reset: true}).Middleware(saying("real")))
	second.EnableHTTP2 = true
	second.StartTLS()
	defer second.Close()
	resp, err = second.Client().Get(second.URL)
	if err == nil {
		_ = resp.Body.Close()
		t.Errorf("over HTTP/2 it is %s, want an error", resp.Status)
	}

	client := server.Client()
	i := must(t, nil, Fault{Name: "f", Reset: true})
	client.Transport = i.Transport(client.Transport)
	resp, err = client.Get(server.URL)
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) || !errors.Is(err, ErrInjected) {
		t.Errorf("in a transport it is %v, want an injected reset", err)
	}
}

func TestErrIsReturnedByTransportsAndAbortsHandlers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		lost := errors.New("lost")
		i := must(t, nil, Fault{Name: "f", Err: lost})
		client := serve(t, i.Middleware(saying("real")))
		if resp, err := get(t.Context(), client); err == nil {
			_ = resp.Body.Close()
			t.Errorf("a handler answers %s", resp.Status)
		}
		client.Transport = i.Transport(client.Transport)
		if resp, err := get(t.Context(), client); !errors.Is(err, lost) || !errors.Is(err, ErrInjected) {
			if err == nil {
				_ = resp.Body.Close()
			}
			t.Errorf("a transport returns %v", err)
		}
	})
}

// The kill switch makes what is left of a slow body whole.
func TestDisarmMidBody(t *testing.T) {
	for _, face := range []string{"handler", "transport"} {
		t.Run(face, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				body := strings.Repeat("x", 1000)
				i := must(t, nil, Fault{Name: "f", Body: Body{Rate: 10, Truncate: 500}})
				client := serve(t, saying(body))
				if face == "handler" {
					client = serve(t, i.Middleware(saying(body)))
				} else {
					client.Transport = i.Transport(client.Transport)
				}
				begin := time.Now()
				time.AfterFunc(10*time.Second, i.Disarm)
				resp, err := get(t.Context(), client)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				text, err := io.ReadAll(resp.Body)
				if took := time.Since(begin); err != nil || string(text) != body || took != 10*time.Second {
					t.Errorf("%d bytes and %v after %v", len(text), err, took)
				}
			})
		})
	}
}

// A handler that copies on a goroutine of its own is told of the end of a body, and the
// process lives on.
func TestTruncationOnAnotherGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i := must(t, nil, Fault{Name: "f", Body: Body{Truncate: 3}})
		client := serve(t, i.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			done := make(chan error, 1)
			go func() { _, err := io.Copy(w, strings.NewReader("0123456789")); done <- err }()
			if err := <-done; !errors.Is(err, ErrInjected) {
				t.Errorf("the copy ends with %v", err)
			}
		})))
		resp, err := get(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if text, err := io.ReadAll(resp.Body); string(text) != "012" || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %q, %v", text, err)
		}
	})
}

// What passes is bounded from when it comes on: a handler that takes its time has saved
// nothing up.
func TestRateHasNoCredit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i := must(t, nil, Fault{Name: "f", Body: Body{Rate: 10}})
		client := serve(t, i.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Minute)
			_, _ = io.WriteString(w, "0123456789")
		})))
		begin := time.Now()
		resp, err := get(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if _, err := io.ReadAll(resp.Body); err != nil || time.Since(begin) != time.Minute+time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

// A reset is a response that was aborted, to all before it.
func TestResetIsSeenByThoseBefore(t *testing.T) {
	t.Parallel()
	var aborted atomic.Bool
	h := must(t, nil, Fault{Name: "f", Reset: true}).Middleware(saying("real"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		httpx.Serve(h, w, r, nil, func(resp httpx.Response) { aborted.Store(resp.Aborted) })
	}))
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err == nil {
		_ = resp.Body.Close()
	}
	server.Close() // and all handlers have ended
	if err == nil || !aborted.Load() {
		t.Errorf("%v, aborted: %t", err, aborted.Load())
	}
}

// A place is given back by a body that was read to its end and never closed.
func TestPlaceIsGivenBackAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i := must(t, nil, Fault{Name: "f", Body: Body{Corrupt: 2}})
		client := serve(t, saying("0123456789"))
		client.Transport = i.Transport(client.Transport)
		resp, err := get(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		if got := i.Stats().Active; got != 0 {
			t.Errorf("%d active, want 0", got)
		}
		_ = resp.Body.Close()
	})
}

// A body of which only its first bytes are read gives its place back when it is closed,
// once.
func TestPlaceIsGivenBackAtCloseOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i := must(t, nil, Fault{Name: "f", Body: Body{Rate: 1000}})
		client := serve(t, saying("0123456789"))
		client.Transport = i.Transport(client.Transport)
		resp, err := get(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		if got := i.Stats().Active; got != 1 {
			t.Errorf("%d active, want 1", got)
		}
		_ = resp.Body.Close()
		_ = resp.Body.Close()
		if got := i.Stats().Active; got != 0 {
			t.Errorf("%d active, want 0", got)
		}
	})
}

func TestInnermostIsChecked(t *testing.T) {
	t.Parallel()
	i := uprung.Must(New([]Fault{{Name: "all", Reset: true}}, nil))
	inner := uprung.Named(uprung.Layer{Kind: uprung.KindCache}, func(next http.Handler) http.Handler { return http.HandlerFunc(next.ServeHTTP) })
	if findings := uprung.Vet(i.Middleware(inner(saying("")))).Findings; len(findings) == 0 || findings[0].Rule != "chaos-innermost" {
		t.Errorf("outside a cache: %v", findings)
	}
	if findings := uprung.Vet(inner(i.Middleware(saying("")))).Findings; len(findings) != 0 {
		t.Errorf("innermost: %v", findings)
	}
}
