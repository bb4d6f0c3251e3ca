package grpcbalance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// round makes calls one after the other until each of n endpoints has had one, as
// RoundRobin has it, with outcomes by endpoint.
func round(t *testing.T, c *channel, n int, ends map[string]error) {
	t.Helper()
	for range n {
		attempt := new(uprung.Attempt)
		result, err := picker{c}.Pick(balancer.PickInfo{Ctx: uprung.WithAttempt(t.Context(), attempt)})
		if err != nil {
			t.Fatal(err)
		}
		result.Done(balancer.DoneInfo{Err: ends[attempt.Tried()[0]], BytesSent: true})
	}
}

// plains returns the pickers of n endpoints.
func plains(n int) []balancer.Picker {
	all := make([]balancer.Picker, n)
	for i := range all {
		all[i] = plain{}
	}
	return all
}

// An endpoint that fails five times in a row is out for 3 seconds, then for 6 and so on,
// which is forgotten by and by.
func TestEjection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := channelOf(t, &Options{Policy: pick.RoundRobin{}}, plains(4)...)
		broken := map[string]error{"b": status.Error(codes.Internal, "")}
		out := func() bool { return c.b.Stats().of(t, "b").Ejected == 1 }
		for times := 1; times <= 12; times++ {
			for range 5 {
				if out() {
					t.Fatalf("ejected after fewer failures than 5, the %d. time", times)
				}
				round(t, c, 4, broken)
			}
			want := time.Duration(min(times, 10)) * 3 * time.Second
			before := c.b.Stats().of(t, "b").Picked
			time.Sleep(want - 1)
			round(t, c, 40, broken)
			if got := c.b.Stats().of(t, "b").Picked - before; got != 0 || !out() {
				t.Fatalf("%d calls while ejected, the %d. time", got, times)
			}
			time.Sleep(1)
			if out() {
				t.Fatalf("still ejected after %v, the %d. time", want, times)
			}
		}
		time.Sleep(95 * time.Second) // nine times are forgotten
		for range 5 {
			round(t, c, 4, broken)
		}
		if time.Sleep(6*time.Second - 1); !out() {
			t.Error("no longer ejected, want for 6s: once is still remembered")
		}
		if time.Sleep(1); out() {
			t.Error("still ejected after 6s, want that nine times were forgotten")
		}
	})
}

// Calls that were in progress when an endpoint was ejected, and fail too, do not eject it
// once more.
func TestFailuresOfAnEjectedEndpoint(t *testing.T) {
	t.Parallel()
	c := channelOf(t, &Options{Policy: pick.RoundRobin{}, Outlier: Outlier{MaxEjected: 1}}, plains(2)...)
	var ends []func(balancer.DoneInfo) // of calls to b
	for range 100 {
		attempt := new(uprung.Attempt)
		result, err := picker{c}.Pick(balancer.PickInfo{Ctx: uprung.WithAttempt(t.Context(), attempt)})
		if err != nil {
			t.Fatal(err)
		}
		if attempt.Tried()[0] == "b" {
			ends = append(ends, result.Done)
		}
	}
	for _, end := range ends {
		end(balancer.DoneInfo{Err: status.Error(codes.Unavailable, ""), BytesSent: true})
	}
	if s := c.b.Stats(); s.Ejections != 1 || s.Failures != 50 {
		t.Errorf("%d ejections for %d failures at a time, want 1 for 50", s.Ejections, s.Failures)
	}
}

// Nothing but failures in a row ejects.
func TestTrap15WhatDoesNotEject(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		nil, status.Error(codes.Canceled, ""), status.Error(codes.DeadlineExceeded, ""), status.Error(codes.ResourceExhausted, ""),
		status.Error(codes.NotFound, ""), status.Error(codes.Unimplemented, ""),
	} {
		c := channelOf(t, &Options{Policy: pick.RoundRobin{}}, plains(4)...)
		for range 50 {
			round(t, c, 4, map[string]error{"b": err})
		}
		if s := c.b.Stats(); s.Ejections != 0 {
			t.Errorf("%v: %d ejections, want none", err, s.Ejections)
		}
	}
	// Four, and a success.
	c := channelOf(t, &Options{Policy: pick.RoundRobin{}}, plains(4)...)
	for i := range 50 {
		ends := map[string]error{}
		if i%5 != 4 {
			ends["b"] = status.Error(codes.Internal, "")
		}
		round(t, c, 4, ends)
	}
	if s := c.b.Stats(); s.Ejections != 0 {
		t.Errorf("%d ejections of one that succeeds now and then, want none", s.Ejections)
	}
}

func TestTrap15EjectionIsBounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		n    int
		most float64
		want int
	}{{3, 0, 1}, {20, 0, 2}, {10, 0.35, 3}, {4, 1, 4}} {
		c := channelOf(t, &Options{Policy: pick.RoundRobin{}, Outlier: Outlier{MaxEjected: tt.most}}, plains(tt.n)...)
		ends := map[string]error{}
		for i := range tt.n {
			ends[string(rune('a'+i))] = status.Error(codes.Internal, "")
		}
		for range 20 {
			round(t, c, tt.n, ends)
		}
		out := 0
		for _, e := range c.b.Stats().Endpoints {
			out += e.Ejected
		}
		if out != tt.want || c.b.Stats().Ejections != uint64(tt.want) {
			t.Errorf("%d of %d are ejected, want %d", out, tt.n, tt.want)
		}
	}
}

func TestPanicThreshold(t *testing.T) {
	for _, tt := range []struct {
		threshold float64
		panics    bool
	}{{0, true}, {0.25, false}, {-1, false}} {
		t.Run(fmt.Sprint(tt.threshold), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var log notes
				c := channelOf(t, &Options{
					Policy: pick.RoundRobin{}, PanicThreshold: tt.threshold, Outlier: Outlier{MaxEjected: 0.75}, Logger: slog.New(&log),
				}, plains(4)...)
				broken := status.Error(codes.Internal, "")
				for range 5 {
					round(t, c, 4, map[string]error{"a": broken, "b": broken, "c": broken})
				}
				before := c.b.Stats()
				round(t, c, 40, nil)
				s := c.b.Stats()
				if got := s.of(t, "b").Picked > before.of(t, "b").Picked; got != tt.panics || s.Panicking == 1 != tt.panics {
					t.Errorf("calls to ejected endpoints: %v, panicking: %d; want %v", got, s.Panicking, tt.panics)
				}
				time.Sleep(3 * time.Second)
				round(t, c, 40, nil)
				if s := c.b.Stats(); s.Panicking != 0 || s.of(t, "b").Picked < before.of(t, "b").Picked+10 {
					t.Errorf("figures are %+v after the ejections", s)
				}
				if got := strings.Contains(log.String(), "WARN usable endpoints"); got != tt.panics {
					t.Errorf("logged is %s", log.String())
				}
			})
		})
	}
}

// With nobody left and no panic, calls are refused.
func TestAllEjected(t *testing.T) {
	t.Parallel()
	c := channelOf(t, &Options{Policy: pick.RoundRobin{}, PanicThreshold: -1}, plains(1)...)
	for range 5 {
		round(t, c, 1, map[string]error{"a": status.Error(codes.Internal, "")})
	}
	if _, err := (picker{c}).Pick(balancer.PickInfo{Ctx: t.Context()}); status.Code(err) != codes.Unavailable || c.b.Stats().Rejected != 1 {
		t.Errorf("error is %v, want a refusal", err)
	}
}

func TestModes(t *testing.T) {
	for _, tt := range []struct {
		mode      uprung.Mode
		ejections uint64
		acts      bool
	}{{uprung.Enforce, 1, true}, {uprung.Shadow, 1, false}, {uprung.Off, 0, false}} {
		t.Run(tt.mode.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var log notes
				c := channelOf(t, &Options{Policy: pick.RoundRobin{}, Outlier: Outlier{Mode: tt.mode}, Logger: slog.New(&log)}, plains(4)...)
				for range 5 {
					round(t, c, 4, map[string]error{"b": status.Error(codes.Internal, "")})
				}
				before := c.b.Stats().of(t, "b").Picked
				round(t, c, 40, nil)
				s := c.b.Stats()
				if acts := s.of(t, "b").Picked == before; s.Ejections != tt.ejections || acts != tt.acts {
					t.Errorf("%d ejections, acted upon: %v; want %d, %v", s.Ejections, acts, tt.ejections, tt.acts)
				}
				time.Sleep(3 * time.Second)
				round(t, c, 40, nil)
				if s := c.b.Stats(); s.of(t, "b").Ejected != 0 {
					t.Errorf("figures are %+v after the ejection", s.of(t, "b"))
				}
				want := "INFO endpoints changed balancer=a endpoints=4 came=4 went=0\n"
				if tt.ejections > 0 {
					want += fmt.Sprintf("INFO endpoint ejected balancer=a endpoint=b duration=3s enforced=%v\nINFO endpoint back balancer=a endpoint=b\n", tt.acts)
				}
				if log.String() != want {
					t.Errorf("logged is\n%swant\n%s", log.String(), want)
				}
			})
		})
	}
}

// capricious is a policy that takes endpoints only some of the times.
type capricious struct{ refuses *atomic.Bool }

func (p capricious) Picker(endpoints []pick.Endpoint, prev pick.Picker) (pick.Picker, error) {
	if p.refuses.Load() {
		return nil, errors.New("not now")
	}
	return pick.RoundRobin{}.Picker(endpoints, prev)
}

// A policy that refuses what it has taken before leaves things as they are, and is asked
// again by and by.
func TestPolicyThatFailsLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log notes
		policy := capricious{new(atomic.Bool)}
		c := channelOf(t, &Options{Policy: policy, Logger: slog.New(&log)}, plains(4)...)
		policy.refuses.Store(true)
		for range 5 {
			round(t, c, 4, map[string]error{"b": status.Error(codes.Internal, "")})
		}
		before := c.b.Stats().of(t, "b").Picked
		round(t, c, 40, nil)
		if got := c.b.Stats().of(t, "b").Picked - before; got != 10 {
			t.Errorf("%d calls to the one that would be ejected, want 10 as before", got)
		}
		policy.refuses.Store(false)
		time.Sleep(time.Second)
		before = c.b.Stats().of(t, "b").Picked
		round(t, c, 40, nil)
		if got := c.b.Stats().of(t, "b").Picked - before; got != 0 {
			t.Errorf("%d calls to the one that is ejected, want none", got)
		}
		if want := "WARN endpoints not redrawn balancer=a error=not now\n"; !strings.Contains(log.String(), want) {
			t.Errorf("logged is\n%swant also %s", log.String(), want)
		}
	})
}

// An ejection survives what the resolver says, and calls of one that is gone eject
// nobody.
func TestEjectionAndResolver(t *testing.T) {
	b := registered(t, &Options{Policy: pick.RoundRobin{}})
	bubble(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		b2 := &service{check: func(context.Context) error {
			if broken.Load() {
				return status.Error(codes.Internal, "")
			}
			return nil
		}}
		f := newFleet(t, taking(0), b2, taking(0))
		c := f.client(b)
		load(t, c, 15, 1)
		if got := b.Stats().of(t, "b").Ejected; got != 1 {
			t.Fatalf("figures are %+v, want that b is ejected", b.Stats())
		}
		f.resolver.UpdateState(endpoints("b", "c"))
		time.Sleep(time.Second)
		calls := b2.calls.Load()
		load(t, c, 20, 1)
		if b2.calls.Load() != calls {
			t.Errorf("%d calls to an endpoint that is ejected", b2.calls.Load()-calls)
		}
		broken.Store(false)
		time.Sleep(2 * time.Second)
		load(t, c, 20, 1)
		if got := b2.calls.Load() - calls; got != 10 {
			t.Errorf("%d calls to an endpoint that is back, want half of 20", got)
		}
	})
}

// notes is a handler that keeps what is logged, without time.
type notes struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (*notes) Enabled(context.Context, slog.Level) bool { return true }
func (n *notes) WithAttrs([]slog.Attr) slog.Handler     { return n }
func (n *notes) WithGroup(string) slog.Handler          { return n }
func (n *notes) Handle(_ context.Context, r slog.Record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(&n.text, "%v %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&n.text, " %v", a)
		return true
	})
	n.text.WriteByte('\n')
	return nil
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}
