package breaker

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

func newThrottle(tb testing.TB, o *ThrottleOptions) *Throttle {
	tb.Helper()
	t, err := NewThrottle(o)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestThrottleOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := NewThrottle(&ThrottleOptions{Name: "\n", Mode: 12345, K: 1, Window: time.Millisecond, MaxRejected: 1})
	for _, field := range []string{"Name", "Mode", "K", "Window", "MaxRejected"} {
		if err == nil || !strings.Contains(err.Error(), "breaker: "+field) {
			t.Errorf("error does not name %s: %v", field, err)
		}
	}
	for _, k := range []float64{math.NaN(), math.Inf(1), -2} {
		if _, err := NewThrottle(&ThrottleOptions{K: k}); err == nil {
			t.Errorf("K of %v is taken", k)
		}
	}
}

// TestThrottleShare has rows of (accepted, overloads) and the share that the formula
// gives, worked out by hand.
func TestThrottleShare(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		accepted, overloads int
		want                float64
	}{
		{0, 0, 0}, {100, 0, 0}, {67, 33, 0}, {66, 34, 1.0 / 101}, {50, 50, 25.0 / 101}, {25, 75, 62.5 / 101}, {0, 1, 0.5}, {0, 1000, 0.9},
	} {
		th := newThrottle(t, nil)
		for range tt.accepted {
			th.doneAt(0, []uprung.Outcome{uprung.Success, uprung.Failure}[rand.IntN(2)])
		}
		for range tt.overloads {
			th.doneAt(0, uprung.Overload)
		}
		for range 10 {
			th.doneAt(0, uprung.Ignored)
		}
		if got := th.share(0); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("after %d and %d the share is %v, want %v", tt.accepted, tt.overloads, got, tt.want)
		}
	}
}

// At four times its capacity, a service is sent about half as much again as it takes; when there is
// less again, all is let through within a window or so.
func TestThrottleFollowsTheLoad(t *testing.T) {
	t.Parallel()
	th := newThrottle(t, &ThrottleOptions{Seed: 1})
	var now int64
	room := 0.0
	// run offers a request every few milliseconds to a service that takes one in four
	// milliseconds, and returns how many were offered, sent and taken.
	run := func(d time.Duration, every int64) (offered, sent, taken int) {
		for til := now + int64(d); now < til; now += int64(time.Millisecond) {
			room = min(room+0.25, 10)
			if now/int64(time.Millisecond)%every != 0 {
				continue
			}
			offered++
			if th.allowAt(now, nil) != nil {
				continue
			}
			sent++
			if room >= 1 {
				room--
				taken++
				th.doneAt(now, uprung.Success)
			} else {
				th.doneAt(now, uprung.Overload)
			}
		}
		return offered, sent, taken
	}
	run(2*time.Second, 1)
	if offered, sent, taken := run(10*time.Second, 1); sent < offered*34/100 || sent > offered*42/100 || taken < offered*24/100 {
		t.Errorf("%d of %d are sent in an overload, and %d taken", sent, offered, taken)
	}
	run(1200*time.Millisecond, 4)
	if offered, sent, taken := run(time.Second, 4); sent != offered || taken != offered {
		t.Errorf("%d of %d are sent after it", sent, offered)
	}
}

// However bad it is, a tenth is let through, so that the end of it is noticed.
func TestThrottleIsCapped(t *testing.T) {
	t.Parallel()
	th := newThrottle(t, &ThrottleOptions{Seed: 1})
	var now int64
	sent := 0
	for range 10_000 {
		now += int64(time.Millisecond)
		if th.allowAt(now, nil) == nil {
			sent++
			th.doneAt(now, uprung.Overload)
		}
	}
	if sent < 900 || sent > 1200 {
		t.Errorf("%d of 10000 are sent, want about a tenth", sent)
	}
	if s := th.Stats(); s.Rejected+s.Overloads != 10_000 || s.Accepted != 0 {
		t.Errorf("%+v, want 10000 together", s)
	}
}

func TestThrottleTransport(t *testing.T) {
	t.Parallel()
	th := newThrottle(t, &ThrottleOptions{Window: time.Hour, Skip: func(r *http.Request) bool { return r.Method == "HEAD" }})
	status := 429
	rt := th.Transport(roundTripper(func(r *http.Request) (*http.Response, error) { return answering(status, "")(r) }))
	refused := 0
	for range 1000 {
		if err := send(rt, newRequest(t)); err != nil {
			refused++
			if r, ok := errors.AsType[*uprung.Rejection](err); !ok || !errors.Is(err, ErrThrottled) || r.Kind != uprung.KindThrottle || r.RetryAfter != time.Hour {
				t.Fatalf("error is %v, want a rejection", err)
			}
		}
	}
	if refused < 800 || refused > 950 {
		t.Errorf("%d of 1000 are refused, want about 900", refused)
	}
	head := newRequest(t)
	head.Method = "HEAD"
	for range 100 {
		if err := send(rt, head); err != nil {
			t.Fatalf("error is %v, want those that are exempt to pass", err)
		}
	}
	for _, mode := range []uprung.Mode{uprung.Shadow, uprung.Off, uprung.Percent(0.01)} {
		if err := th.SetMode(mode); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := send(rt, newRequest(t)); err != nil {
				t.Fatalf("%v: error is %v, want all to pass", mode, err)
			}
		}
	}
	if s := th.Stats(); s.Shadowed < 150 || s.Shadowed > 200 {
		t.Errorf("%d are shadowed, want about 180", s.Shadowed)
	}
	if err := th.SetMode(12345); err == nil {
		t.Error("an invalid mode is taken")
	}
}

// A breaker's refusal below, a caller that leaves, and a panic.
func TestThrottleOutcomes(t *testing.T) {
	t.Parallel()
	b := mustNew(t, nil)
	b.Force(ForceOpen)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	th := newThrottle(t, nil)
	_ = send(th.Transport(b.Transport(nil)), newRequest(t))
	_ = send(th.Transport(failing(context.Canceled)), newRequest(t).WithContext(cancelled))
	_ = send(th.Transport(failing(errBroken)), newRequest(t))
	func() {
		defer func() {
			if v := recover(); v != "oops" {
				t.Errorf("recovered %v, want oops", v)
			}
		}()
		_ = send(th.Transport(roundTripper(func(*http.Request) (*http.Response, error) { panic("oops") })), newRequest(t))
	}()
	if s := th.Stats(); s.Ignored != 2 || s.Accepted != 2 || s.Overloads != 0 {
		t.Errorf("%+v, want 2 ignored and 2 accepted", s)
	}
}
