package httpcache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// arrival is when a client had what of a response.
type arrival struct {
	first, last time.Duration
	code        int
	text        string
	err         error
}

// crowd has n clients ask for the same at the same time, and waits for all of them.
func (s *site) crowd(ctx context.Context, n int, path string, fields func(int) []string) []arrival {
	s.t.Helper()
	all := make([]arrival, n)
	start := time.Now()
	var wg sync.WaitGroup
	for at := range n {
		wg.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, siteURL+path, nil)
			if err != nil {
				s.t.Error(err)
				return
			}
			if fields != nil {
				pairs := fields(at)
				for i := 0; i < len(pairs); i += 2 {
					r.Header.Add(pairs[i], pairs[i+1])
				}
			}
			a := &all[at]
			resp, err := s.client.Do(r)
			if a.first = time.Since(start); err != nil {
				a.err = err
				return
			}
			defer func() { _ = resp.Body.Close() }()
			a.code = resp.StatusCode
			var text [1]byte
			if _, err := io.ReadFull(resp.Body, text[:]); err != nil {
				a.err = err
				return
			}
			a.first = time.Since(start)
			rest, err := io.ReadAll(resp.Body)
			a.text, a.err, a.last = string(text[:])+string(rest), err, time.Since(start)
		})
	}
	wg.Wait()
	synctest.Wait()
	return all
}

// streams makes the origin send a body in parts, a second apart, the first after a second.
func (s *site) streams(parts string, fields ...string) {
	s.handle(func(w http.ResponseWriter, r *http.Request) {
		for at := 0; at < len(fields); at += 2 {
			w.Header().Set(fields[at], fields[at+1])
		}
		for _, part := range parts {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, string(part))
			_ = http.NewResponseController(w).Flush()
		}
	})
}

func TestMissesAtTheSameTimeAreOneRequestAndAllStream(t *testing.T) {
	faces(t, Options{}, func(t *testing.T, s *site) {
		s.streams("abc", "Cache-Control", "max-age=60")
		for at, a := range s.crowd(t.Context(), 50, "/", nil) {
			if a.err != nil || a.text != "abc" || a.first != time.Second || a.last != 3*time.Second {
				t.Errorf("client %d: %+v", at, a)
			}
		}
		s.wants(1, "50 clients at the same time")
		if n := s.cache.Stats(); n.Collapsed != 49 || n.Stored != 1 {
			t.Errorf("%+v", n)
		}
	})
}

func TestFirstClientLeavesAndTheOthersHaveAll(t *testing.T) {
	for _, when := range []time.Duration{500 * time.Millisecond, 1500 * time.Millisecond} {
		t.Run(when.String(), func(t *testing.T) {
			faces(t, Options{}, func(t *testing.T, s *site) {
				s.streams("abc", "Cache-Control", "max-age=60")
				ctx, cancel := context.WithTimeout(t.Context(), when)
				defer cancel()
				var wg sync.WaitGroup
				wg.Go(func() {
					if a := s.crowd(ctx, 1, "/", nil)[0]; a.err == nil {
						t.Errorf("the first: %+v", a)
					}
				})
				time.Sleep(time.Millisecond)
				for at, a := range s.crowd(t.Context(), 9, "/", nil) {
					if a.err != nil || a.text != "abc" {
						t.Errorf("client %d: %+v", at, a)
					}
				}
				wg.Wait()
				s.wants(1, "of which the first has left")
				script("GET / => hit 200 abc").run(t, s)
			})
		})
	}
}

func TestAllClientsLeaveAndTheFetchEnds(t *testing.T) {
	faces(t, Options{}, func(t *testing.T, s *site) {
		ended := make(chan time.Time, 1)
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "a")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			ended <- time.Now()
			panic(http.ErrAbortHandler)
		})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		s.crowd(ctx, 5, "/", nil)
		if took := (<-ended).Sub(start); took != 3*time.Second {
			t.Errorf("the origin was let go after %v", took)
		}
		s.wants(1, "all leave")
	})
}

// Trap 10: a leader that is stuck holds nobody for longer than Collapse.Wait.
func TestStalledFetchWedgesNobody(t *testing.T) {
	faces(t, Options{Collapse: Collapse{Wait: 2 * time.Second}}, func(t *testing.T, s *site) {
		var calls atomic.Int32
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) == 1 {
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "abc")
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		served := 0
		for _, a := range s.crowd(ctx, 10, "/", nil) {
			if a.err == nil && a.text == "abc" && a.last == 2*time.Second {
				served++
			}
		}
		if served != 9 {
			t.Errorf("%d of 9 were served after 2s", served)
		}
		if len(s.cache.flights.all) != 0 {
			t.Error("a fetch is still under its key")
		}
		// It is as old as its own fetch, which began when the wait had ended.
		script("GET / => hit 200 abc | Age: 18").run(t, s)
	})
}

// Trap 10: one that fails leaves the others to themselves.
func TestFailedFetchLosesNobody(t *testing.T) {
	faces(t, Options{}, func(t *testing.T, s *site) {
		var calls atomic.Int32
		s.handle(func(w http.ResponseWriter, _ *http.Request) {
			first := calls.Add(1) == 1
			time.Sleep(time.Second)
			if first {
				panic("the first")
			}
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "abc")
		})
		served := 0
		for _, a := range s.crowd(t.Context(), 10, "/", nil) {
			if a.err == nil && a.text == "abc" {
				served++
			}
		}
		if served != 9 || len(s.cache.flights.all) != 0 {
			t.Errorf("%d of 9 were served, %d fetches go on", served, len(s.cache.flights.all))
		}
	})
}

// Trap 14: a body that breaks off does so for all.
func TestCutBodyIsCutForAll(t *testing.T) {
	faces(t, Options{}, func(t *testing.T, s *site) {
		s.handle(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = io.WriteString(w, "abc")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(time.Second)
			panic(http.ErrAbortHandler)
		})
		for at, a := range s.crowd(t.Context(), 5, "/", nil) {
			if a.err == nil {
				t.Errorf("client %d has a complete response: %+v", at, a)
			}
		}
		s.wants(1, "a body that breaks off")
		if n := s.cache.Stats(); n.Stored != 0 || n.Refused["incomplete"] != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// Traps 9 and 11: those that may not use what another fetches go on at once, all together,
// and for some time do not wait at all.
func TestResponsesOfNobodyElseAreNotWaitedFor(t *testing.T) {
	for _, fields := range [][]string{
		{"Cache-Control", "no-store"}, {"Cache-Control", "private, max-age=60"}, {"Cache-Control", "max-age=60", "Set-Cookie", "a=b"}, {"Cache-Control", "max-age=0", "Etag", `"1"`},
		{"Cache-Control", "max-age=60, no-cache", "Etag", `"1"`},
	} {
		t.Run(strings.Join(fields, " "), func(t *testing.T) {
			faces(t, Options{}, func(t *testing.T, s *site) {
				s.streams("a", fields...)
				for at, a := range s.crowd(t.Context(), 10, "/", nil) {
					if a.err != nil || a.text != "a" || a.last > 2*time.Second {
						t.Errorf("client %d: %+v", at, a)
					}
				}
				s.wants(10, "the first")
				for at, a := range s.crowd(t.Context(), 10, "/", nil) {
					if a.err != nil || a.last != time.Second {
						t.Errorf("client %d after that: %+v", at, a)
					}
				}
				s.wants(20, "the second")
			})
		})
	}
}

func TestWaitersOfOtherVariantsFetchThemselves(t *testing.T) { // trap 9
	faces(t, Options{}, func(t *testing.T, s *site) {
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Vary", "X-User")
			_, _ = io.WriteString(w, r.Header.Get("X-User"))
		})
		all := s.crowd(t.Context(), 12, "/", func(at int) []string { return []string{"X-User", string(rune('a' + at%3))} })
		for at, a := range all {
			if a.err != nil || a.text != string(rune('a'+at%3)) {
				t.Errorf("client %d: %+v", at, a)
			}
		}
	})
}

func TestWaitersWithAuthorization(t *testing.T) { // traps 7 and 9
	for _, says := range []string{"max-age=60", "max-age=60, public"} {
		t.Run(says, func(t *testing.T) {
			faces(t, Options{}, func(t *testing.T, s *site) {
				s.handle(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					w.Header().Set("Cache-Control", says)
					_, _ = io.WriteString(w, r.Header.Get("Authorization"))
				})
				all := s.crowd(t.Context(), 6, "/", func(at int) []string { return []string{"Authorization", string(rune('a' + at))} })
				for at, a := range all {
					if own := string(rune('a' + at)); a.err != nil || a.text != own && !strings.Contains(says, "public") {
						t.Errorf("client %d: %+v", at, a)
					}
				}
				want := 6
				if strings.Contains(says, "public") {
					want = 1
				}
				s.wants(want, says)
			})
		})
	}
}

func TestRequestsForPartsAreNotWaitedFor(t *testing.T) {
	faces(t, Options{}, func(t *testing.T, s *site) {
		s.streams("abc", "Cache-Control", "max-age=60")
		all := s.crowd(t.Context(), 2, "/", func(at int) []string {
			if at == 0 {
				return []string{"Range", "bytes=0-1"}
			}
			time.Sleep(time.Millisecond)
			return nil
		})
		if all[1].first != time.Second+time.Millisecond {
			t.Errorf("%+v", all[1])
		}
		s.wants(2, "one for a part")
	})
}

// A reader that is too slow is let go, and holds nobody.
func TestSlowReaderOfALargeBodyHoldsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const size, limit = 1 << 20, 64 << 10
		c, err := New(nil, &Options{MaxObject: limit})
		if err != nil {
			t.Fatal(err)
		}
		base := roundTripper(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return &http.Response{StatusCode: 200, Header: http.Header{"Cache-Control": {"max-age=60"}}, ContentLength: -1, Body: io.NopCloser(io.LimitReader(endless{}, size)), Request: r}, nil
		})
		ask := func() *http.Response {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Transport(base).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		var leader, slow *http.Response
		var wg sync.WaitGroup
		wg.Go(func() { leader = ask() })
		time.Sleep(time.Millisecond)
		wg.Go(func() { slow = ask() })
		wg.Wait()
		n, err := io.Copy(io.Discard, leader.Body)
		if n != size || err != nil {
			t.Errorf("the first has read %d: %v", n, err)
		}
		if n, err = io.Copy(io.Discard, slow.Body); n >= size || !errors.Is(err, errTooSlow) {
			t.Errorf("the slow one has read %d: %v", n, err)
		}
		if s := c.Stats(); s.Refused["size"] != 1 || s.Stored != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Of a body that is too large to be stored, only what somebody has not read yet is kept.
func TestLogOfALargeBodyIsShort(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	f := &flight{limit: limit, wake: make(chan struct{}), whole: true}
	r := f.reader(true)
	piece, read := make([]byte, 1000), 0
	for sent := 0; sent < 3*limit; sent += len(piece) {
		if err := f.write(t.Context(), piece); err != nil {
			t.Fatal(err)
		}
		for read < sent+len(piece) {
			p, err := r.next(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			read += len(p)
		}
		if kept := len(f.chunks) * chunkSize; kept > limit+chunkSize || sent > 2*limit && kept > 2*chunkSize {
			t.Fatalf("after %d bytes %d are kept", sent, kept)
		}
	}
	if f.whole || f.base == 0 {
		t.Error("nothing was given up")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A round trip ends with its request, also if others wait for what it fetches.
func TestTransportReturnsWhenItsRequestEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, err := New(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		rt := c.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
			calls++
			select {
			case <-time.After(10 * time.Second):
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
			return &http.Response{StatusCode: 200, Header: http.Header{"Cache-Control": {"max-age=60"}}, ContentLength: 3, Body: io.NopCloser(strings.NewReader("abc")), Request: r}, nil
		}))
		ask := func(ctx context.Context) (string, error) {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, siteURL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rt.RoundTrip(r)
			if err != nil {
				return "", err
			}
			text, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			return string(text), err
		}
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := ask(ctx)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
				t.Errorf("after %v: %v", took, err)
			}
		})
		time.Sleep(time.Millisecond)
		// The fetch outlasts Collapse.Wait, so that this one fetches as well.
		wg.Go(func() {
			if text, err := ask(t.Context()); text != "abc" || err != nil {
				t.Errorf("%q, %v", text, err)
			}
		})
		wg.Wait()
		if calls != 2 {
			t.Errorf("%d calls", calls)
		}
	})
}

// What is called in a fetch can panic or exit, and it is the caller who does.
func TestTransportRaisesPanicsWhereItWasCalled(t *testing.T) {
	t.Parallel()
	c, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL, nil)
	func() {
		defer func() {
			if value := recover(); value != "oh" {
				t.Errorf("recovered %v", value)
			}
		}()
		_, _ = c.Transport(roundTripper(func(*http.Request) (*http.Response, error) { panic("oh") })).RoundTrip(r)
	}()
	if len(c.flights.all) != 0 {
		t.Error("a fetch goes on")
	}
}

// An origin that fails is not asked for each hit.
func TestValidationsThatFailAreNotRepeatedAtOnce(t *testing.T) {
	faces(t, Options{}, func(t *testing.T, s *site) {
		script(`origin 200 a | Cache-Control: max-age=1, stale-while-revalidate=60
			GET / => fwd 200 a
			wait 2s
			origin down
			GET / => bg 200 a
			GET / => hit 200 a
			wait 900ms
			GET / => hit 200 a
			wait 200ms
			GET / => bg 200 a
			origin 200 b | Cache-Control: max-age=1
			wait 1s
			GET / => bg 200 a
			GET / => hit 200 b`).run(t, s)
	})
}

// Trap 32: one validation for each response, and a bound for all.
func TestValidationsInTheBackgroundAreBounded(t *testing.T) {
	faces(t, Options{MaxValidations: 3}, func(t *testing.T, s *site) {
		s.answers(200, "a", "Cache-Control", "max-age=1, stale-while-revalidate=60")
		for _, path := range []string{"/1", "/2", "/3", "/4", "/5"} {
			s.get(path)
		}
		time.Sleep(2 * time.Second)
		before, _ := s.reached()
		s.handle(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		})
		for _, path := range []string{"/1", "/1", "/1", "/2", "/3", "/4", "/5", "/1"} {
			if got := s.get(path); got.text != "a" {
				t.Errorf("%s: %q", path, got.text)
			}
		}
		if after, _ := s.reached(); after-before != 3 {
			t.Errorf("%d validations at a time, want 3", after-before)
		}
		time.Sleep(31 * time.Second) // FetchTimeout
		synctest.Wait()
		if n := s.cache.running.Load(); n != 0 {
			t.Errorf("%d validations go on after their time", n)
		}
	})
}
