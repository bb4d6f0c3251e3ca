package deadline

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

func TestNewErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		limit time.Duration
		o     *Options
		want  []string
	}{
		{"no limit", 0, nil, []string{"deadline: limit is 0s, want > 0"}},
		{"negative", -time.Second, nil, []string{"deadline: limit is -1s, want > 0"}},
		{"less than needed", time.Second, &Options{MinRemaining: 600 * time.Millisecond, Margin: 400 * time.Millisecond},
			[]string{"deadline: limit is 1s, want more than MinRemaining and Margin together, 1s"}},
		{"too much needed", math.MaxInt64, &Options{MinRemaining: math.MaxInt64, Margin: math.MaxInt64},
			[]string{"deadline: limit is 2562047h47m16.854775807s, want more than MinRemaining and Margin together"}},
		{"everything", 0, &Options{Name: "ä", Header: "a b", MinRemaining: -1, Mode: 77777}, []string{
			"deadline: limit is", `deadline: Name is "ä"`, `deadline: Header is "a b"`, "deadline: MinRemaining is -1ns", "deadline: Mode: uprung: mode is 77777",
		}},
		{"long name", time.Second, &Options{Name: strings.Repeat("x", 65)}, []string{"deadline: Name is"}},
	} {
		d, err := New(tt.limit, tt.o)
		if err == nil || d != nil {
			t.Errorf("%s: New = %v, %v, want an error", tt.name, d, err)
			continue
		}
		if lines := strings.Split(err.Error(), "\n"); !slices.EqualFunc(lines, tt.want, strings.HasPrefix) {
			t.Errorf("%s: error is\n%v\nwant lines that begin\n%s", tt.name, err, strings.Join(tt.want, "\n"))
		}
	}
}

func TestSettingsChangeLive(t *testing.T) {
	t.Parallel()
	d := mustNew(t, time.Second, &Options{MinRemaining: 100 * time.Millisecond})
	for _, limit := range []time.Duration{0, -1, 100 * time.Millisecond} {
		if err := d.SetLimit(limit); err == nil || d.Limit() != time.Second {
			t.Errorf("SetLimit(%v) = %v, and the limit is %v, want an error and 1s", limit, err, d.Limit())
		}
	}
	if err := d.SetLimit(time.Minute); err != nil || d.Limit() != time.Minute {
		t.Errorf("SetLimit = %v, and the limit is %v, want nil and 1m", err, d.Limit())
	}
	if err := d.SetMode(12345); err == nil || d.Mode() != uprung.Enforce {
		t.Errorf("SetMode = %v, and the mode is %v, want an error and enforce", err, d.Mode())
	}
	if err := d.SetMode(uprung.Shadow); err != nil || d.Mode() != uprung.Shadow {
		t.Errorf("SetMode = %v, and the mode is %v, want nil and shadow", err, d.Mode())
	}
	if layer := d.Layer(); layer.Settings[0].Value != "1m0s" || layer.Settings[1].Value != "shadow" {
		t.Errorf("settings are %v, want those of now", layer.Settings)
	}
}

func TestOptionsAreCopied(t *testing.T) {
	t.Parallel()
	o := &Options{MinRemaining: time.Millisecond}
	d := mustNew(t, time.Second, o)
	o.MinRemaining = time.Hour
	if _, _, err := d.Begin(t.Context(), ""); err != nil {
		t.Errorf("a change of the options after New has an effect: %v", err)
	}
}

func TestMargin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ margin, left, want time.Duration }{
		{0, time.Second, 10 * time.Millisecond},
		{0, 100 * time.Millisecond, 10 * time.Millisecond},
		{0, 50 * time.Millisecond, 5 * time.Millisecond},
		{0, 0, 0},
		{0, -time.Second, 0},
		{20 * time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond},
		{-1, time.Second, 0},
	} {
		d := mustNew(t, time.Second, &Options{Margin: tt.margin})
		if got := d.margin(tt.left); got != tt.want {
			t.Errorf("with Margin %v, of %v are taken off %v, want %v", tt.margin, tt.left, got, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, err := range []error{ErrExpired, ErrExceeded, mustNew(t, 1, nil).reject()} {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v does not match context.DeadlineExceeded", err)
		}
	}
	if errors.Is(ErrExpired, ErrExceeded) || errors.Is(ErrExceeded, ErrExpired) {
		t.Error("the errors match each other")
	}
	for _, err := range []error{ErrExpired, ErrExceeded} {
		if slow, ok := err.(interface {
			Timeout() bool
			Temporary() bool
		}); !ok || !slow.Timeout() || !slow.Temporary() {
			t.Errorf("%v is no timeout to package net", err)
		}
	}
	rejection := mustNew(t, 1, &Options{Name: "calls"}).reject()
	if want := `deadline: not enough time is left (policy "calls")`; rejection.Error() != want || rejection.Kind != uprung.KindDeadline {
		t.Errorf("rejection is a %v, %q, want a deadline, %q", rejection.Kind, rejection, want)
	}
}

func TestRemaining(t *testing.T) {
	bubble(t, func(t *testing.T) {
		if left, ok := Remaining(context.Background()); ok || left != 0 {
			t.Errorf("Remaining = %v, %t without a deadline, want 0, false", left, ok)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.Sleep(400 * time.Millisecond)
		if left, ok := Remaining(ctx); !ok || left != 600*time.Millisecond {
			t.Errorf("Remaining = %v, %t, want 600ms, true", left, ok)
		}
		time.Sleep(time.Second)
		if left, ok := Remaining(ctx); !ok || left != -400*time.Millisecond {
			t.Errorf("Remaining = %v, %t, want -400ms, true", left, ok)
		}
	})
}

// TestBegin has a row for each relation of the limit, the deadline that the work
// brings, and how long it takes.
func TestBegin(t *testing.T) {
	const limit = time.Second
	begin, call := (*Deadline).Begin, (*Deadline).BeginCall
	for _, tt := range []struct {
		name    string
		do      func(*Deadline, context.Context, string) (context.Context, func(), error)
		o       Options
		brings  time.Duration // zero means no deadline
		within  time.Duration // zero means no deadline, negative a refusal
		takes   time.Duration
		counted Stats
	}{
		{"the limit", begin, Options{}, 0, limit, 0, Stats{Done: 1}},
		{"a later deadline", begin, Options{}, time.Minute, limit, 0, Stats{Done: 1}},
		{"an earlier deadline", begin, Options{}, 300 * time.Millisecond, 300 * time.Millisecond, 0, Stats{Done: 1}},
		{"just in time", begin, Options{}, 0, limit, limit - 1, Stats{Done: 1}},
		{"exceeded", begin, Options{}, 0, limit, 2 * limit, Stats{Exceeded: 1}},
		{"exceeded, by the earlier deadline", begin, Options{}, 300 * time.Millisecond, 300 * time.Millisecond, limit, Stats{Exceeded: 1}},
		{"expired", begin, Options{}, -time.Millisecond, -1, 0, Stats{Refused: 1}},
		{"not enough", begin, Options{MinRemaining: 100 * time.Millisecond}, 99 * time.Millisecond, -1, 0, Stats{Refused: 1}},
		{"just enough", begin, Options{MinRemaining: 100 * time.Millisecond}, 100 * time.Millisecond, 100 * time.Millisecond, 0, Stats{Done: 1}},

		{"a call", call, Options{}, 0, limit - 10*time.Millisecond, 0, Stats{Done: 1}},
		{"a call without margin", call, Options{Margin: -1}, 0, limit, 0, Stats{Done: 1}},
		{"a call in a hurry", call, Options{}, 20 * time.Millisecond, 18 * time.Millisecond, 0, Stats{Done: 1}},
		{"a call within the margin", call, Options{Margin: 50 * time.Millisecond}, 50 * time.Millisecond, -1, 0, Stats{Refused: 1}},
		{"a call, exceeded", call, Options{}, 0, limit - 10*time.Millisecond, limit, Stats{Exceeded: 1}},

		{"shadow", begin, Options{Mode: uprung.Shadow}, time.Minute, time.Minute, 0, Stats{Done: 1}},
		{"shadow, expired", begin, Options{Mode: uprung.Shadow}, -time.Millisecond, -time.Millisecond, 0, Stats{ShadowRefused: 1}},
		{"shadow, exceeded", begin, Options{Mode: uprung.Shadow}, 0, 0, 2 * limit, Stats{ShadowExceeded: 1}},
		{"off", begin, Options{Mode: uprung.Off}, 0, 0, 2 * limit, Stats{}},
		{"off, expired", begin, Options{Mode: uprung.Off}, -time.Millisecond, -time.Millisecond, 0, Stats{}},
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
				within, end, err := tt.do(d, ctx, "")
				defer end()
				refused := tt.within < 0 && tt.o.Mode == uprung.Enforce
				rejection, _ := errors.AsType[*uprung.Rejection](err)
				if (rejection != nil) != refused || errors.Is(err, ErrExpired) != refused {
					t.Fatalf("error is %v, want a refusal: %t", err, refused)
				}
				if left, ok := Remaining(within); !refused && (left != tt.within || ok != (tt.within != 0)) {
					t.Errorf("%v are left (has a deadline: %t), want %v", left, ok, tt.within)
				}
				time.Sleep(tt.takes)
				waits()
				if tt.counted.Exceeded > 0 && !errors.Is(context.Cause(within), context.DeadlineExceeded) {
					t.Errorf("the cause is %v, want one of time", context.Cause(within))
				}
				end()
				end()
				if got := d.Stats(); got != tt.counted {
					t.Errorf("counted %+v, want %+v", got, tt.counted)
				}
				if tt.o.Mode == uprung.Enforce && !refused && within.Err() == nil {
					t.Error("the context lives on after the end")
				}
			})
		})
	}
}

// The share of Percent is sticky: some keys have the deadline, and always.
func TestPercentGoesByTheKey(t *testing.T) {
	t.Parallel()
	d := mustNew(t, time.Second, &Options{Mode: uprung.Percent(50)})
	enforced := 0
	for i := range 200 {
		key := strings.Repeat("k", i)
		_, first, _ := d.Begin(t.Context(), key)
		first()
		ctx, end, _ := d.Begin(t.Context(), key)
		if _, has := ctx.Deadline(); has != d.Mode().Enforces(key) {
			t.Errorf("key %d has a deadline: %t, want %t", i, has, d.Mode().Enforces(key))
		} else if has {
			enforced++
		}
		end()
	}
	if enforced < 60 || enforced > 140 {
		t.Errorf("%d of 200 keys have a deadline, want about 100", enforced)
	}
}
