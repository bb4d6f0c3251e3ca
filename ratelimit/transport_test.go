package ratelimit

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

// base answers at once with the header that answer returns.
type base func(*http.Request) (int, http.Header)

func (b base) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header := b(r)
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: r}, nil
}

func ok(*http.Request) (int, http.Header) { return 200, http.Header{} }

// get sends a request and returns the time that it took.
func get(t *testing.T, rt http.RoundTripper, url string) (time.Duration, error) {
	t.Helper()
	start := time.Now()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(r)
	if err == nil {
		resp.Body.Close()
	}
	return time.Since(start), err
}

func TestTransportPacesEachHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerSecond(10).WithBurst(2), nil)
		rt := l.Transport(base(ok))
		for i, want := range []time.Duration{0, 0, 100 * time.Millisecond, 100 * time.Millisecond} {
			if got, err := get(t, rt, "http://a.test/"); got != want || err != nil {
				t.Errorf("request %d took %v, %v; want %v", i, got, err, want)
			}
		}
		if got, err := get(t, rt, "http://b.test/"); got != 0 || err != nil {
			t.Errorf("another host took %v, %v; want nothing", got, err)
		}
	})
}

func TestTransportHonoursRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			status int
			field  string
			want   time.Duration
		}{
			{429, "7", 7 * time.Second},
			{503, "in 9s", 9 * time.Second},
			{503, "", 0},
			{200, "7", 0},
			{500, "7", 0},
			{429, "-7", 0},
			{429, "soon", 0},
			{429, "in -1h", 0},
			{429, "999999999", 24 * time.Hour},
			{429, "99999999999999999999", 24 * time.Hour},
		} {
			if in, ok := strings.CutPrefix(tt.field, "in "); ok { // as a date
				tt.field = time.Now().Add(uprung.Must(time.ParseDuration(in))).UTC().Format(http.TimeFormat)
			}
			l := newLimiter(t, PerSecond(100), nil)
			refuse := true
			rt := l.Transport(base(func(r *http.Request) (int, http.Header) {
				if refuse && r.URL.Host == "a.test" {
					return tt.status, http.Header{"Retry-After": {tt.field}}
				}
				return 200, http.Header{}
			}))
			if _, err := get(t, rt, "http://a.test/"); err != nil {
				t.Fatal(err)
			}
			if got, _ := get(t, rt, "http://b.test/"); got != 0 {
				t.Errorf("%d %q: another host waited %v", tt.status, tt.field, got)
			}
			refuse = false
			if got, err := get(t, rt, "http://a.test/"); err != nil || got > tt.want || got < tt.want-time.Second {
				t.Errorf("%d %q: the next request took %v, %v; want %v", tt.status, tt.field, got, err, tt.want)
			}
			// Then the limit is what it was, with one event at a time to begin with.
			if got, err := get(t, rt, "http://a.test/"); err != nil || got > 10*time.Millisecond {
				t.Errorf("%d %q: the one after took %v, %v", tt.status, tt.field, got, err)
			}
		}
	})
}

// body says whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

func TestTransportRefusesWhatCannotBeInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerHour(1), &Options{Capacity: 8, Key: key.Header("Tenant")})
		asked := 0
		rt := l.Transport(base(func(r *http.Request) (int, http.Header) { asked++; return ok(r) }))
		send := func(ctx context.Context, tenant string) (error, bool) {
			b := &body{Reader: strings.NewReader("x")}
			r, err := http.NewRequestWithContext(ctx, "POST", "http://a.test/", b)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Tenant", tenant)
			resp, err := rt.RoundTrip(r)
			if err == nil {
				resp.Body.Close()
			}
			return err, b.closed
		}
		if err, _ := send(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err, closed := send(ctx, "x")
		rejection, isRejection := errors.AsType[*uprung.Rejection](err)
		if !errors.Is(err, ErrLimited) || !isRejection || rejection.RetryAfter != time.Hour || !closed || time.Since(start) != 0 {
			t.Errorf("got %v after %v, body closed: %v; want ErrLimited for an hour at once", err, time.Since(start), closed)
		}
		if err, closed := send(t.Context(), ""); !errors.Is(err, ErrMissingKey) || !closed {
			t.Errorf("without a key: %v, body closed: %v", err, closed)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if err, closed := send(cancelled, "x"); !errors.Is(err, context.Canceled) || !closed {
			t.Errorf("cancelled: %v, body closed: %v", err, closed)
		}
		if asked != 1 {
			t.Errorf("the base was asked %d times, want once", asked)
		}
	})
}

func TestTransportInShadowNeverWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerHour(1), &Options{Capacity: 8, Mode: uprung.Shadow})
		rt := l.Transport(base(func(*http.Request) (int, http.Header) { return 429, http.Header{"Retry-After": {"60"}} }))
		for range 3 {
			if got, err := get(t, rt, "http://a.test/"); got != 0 || err != nil {
				t.Errorf("took %v, %v", got, err)
			}
		}
		if s := l.Stats(); s.ShadowDenied != 2 {
			t.Errorf("%+v, want 2 shadow denials", s)
		}
	})
}

func TestTransportWithSlidingWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerMinute(2), &Options{Capacity: 8, Algorithm: SlidingWindow})
		rt := l.Transport(base(ok))
		total := time.Duration(0)
		for range 6 {
			took, err := get(t, rt, "http://a.test/")
			if err != nil {
				t.Fatal(err)
			}
			total += took
		}
		if total < 90*time.Second || total > 4*time.Minute {
			t.Errorf("six requests at two a minute took %v", total)
		}
	})
}

func TestTransportDescribesItself(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, PerSecond(1), nil)
	rt := l.Transport(nil)
	layers := uprung.TransportLayers(rt)
	if len(layers) != 1 || layers[0].Kind != uprung.KindRateLimit {
		t.Errorf("layers are %v", layers)
	}
	if report := uprung.VetTransport(rt); report.Below != "*http.Transport" {
		t.Errorf("below is %s, want http.DefaultTransport", report.Below)
	}
}

// Who waits in the queue when the server says to wait waits as well, and is paced
// again afterwards.
func TestTransportHoldsBackThoseWhoWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, PerSecond(1), nil)
		var mu sync.Mutex
		var sent []time.Duration
		rt := l.Transport(base(func(*http.Request) (int, http.Header) {
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, time.Since(l.base))
			if len(sent) == 1 {
				return 429, http.Header{"Retry-After": {"8"}}
			}
			return 200, http.Header{}
		}))
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if _, err := get(t, rt, "http://a.test/"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var history []grant
		for i, at := range sent {
			history = append(history, grant{at, 1})
			if i > 0 && at < 8*time.Second {
				t.Errorf("request %d was sent after %v, want none for 8s", i, at)
			}
		}
		conforms(t, history, PerSecond(1))
	})
}

func TestTransportHoldsBackWhateverTheLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, l := range map[string]*Limiter{
			"sliding window": newLimiter(t, PerDay(1000), &Options{Capacity: 8, Algorithm: SlidingWindow}),
			"unlimited":      newLimiter(t, Unlimited(), nil),
		} {
			status := 503
			rt := l.Transport(base(func(*http.Request) (int, http.Header) {
				return status, http.Header{"Retry-After": {"3600"}}
			}))
			if _, err := get(t, rt, "http://a.test/"); err != nil {
				t.Fatal(err)
			}
			status = 200
			if got, err := get(t, rt, "http://a.test/"); got != time.Hour || err != nil {
				t.Errorf("%s: the next request took %v, %v; want an hour", name, got, err)
			}
			status = 503
			if _, err := get(t, rt, "http://b.test/"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, "GET", "http://b.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rt.RoundTrip(r); !errors.Is(err, ErrLimited) {
				t.Errorf("%s: with a minute to wait: %v, want ErrLimited", name, err)
			}
		}
	})
}

type idle struct {
	base
	closed bool
}

func (i *idle) CloseIdleConnections() { i.closed = true }

func TestTransportPassesCloseIdleConnections(t *testing.T) {
	t.Parallel()
	i := &idle{base: ok}
	client := &http.Client{Transport: newLimiter(t, PerSecond(1), nil).Transport(i)}
	client.CloseIdleConnections()
	if !i.closed {
		t.Error("the base is not asked")
	}
}
