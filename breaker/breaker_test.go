package breaker

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	_, err := New(&Options{
		Name: "\n", Mode: 12345, Window: time.Millisecond, MinRequests: -1, FailureRatio: 1.5, Consecutive: -1,
		SlowCall: -1, SlowRatio: math.NaN(), OpenFor: time.Minute, OpenMax: time.Second, Jitter: 1, Probes: -1,
		ProbeLease: -1, Patience: -1,
	})
	for field := range strings.FieldsSeq("Name Mode Window MinRequests FailureRatio Consecutive SlowCall SlowRatio OpenMax Jitter Probes ProbeLease Patience") {
		if err == nil || !strings.Contains(err.Error(), "breaker: "+field) {
			t.Errorf("error does not name %s: %v", field, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 13 {
		t.Errorf("%d complaints, want 13: %v", n, err)
	}
	if _, err := New(&Options{SlowRatio: 0.5}); err == nil {
		t.Error("SlowRatio without SlowCall is taken")
	}
	if _, err := New(&Options{OpenFor: time.Hour}); err != nil { // beyond the default of OpenMax
		t.Error(err)
	}
}

// TestOpens has rows of (instant, how many end how) and the state that follows.
func TestOpens(t *testing.T) {
	t.Parallel()
	type row struct {
		at      time.Duration
		n       int
		outcome uprung.Outcome
		takes   time.Duration
		want    State
	}
	for name, tt := range map[string]struct {
		o    Options
		rows []row
	}{
		"half of twenty": {Options{}, []row{
			{0, 10, uprung.Success, 0, Closed}, {0, 9, uprung.Failure, 0, Closed}, {0, 1, uprung.Failure, 0, Open},
		}},
		"less than twenty": {Options{}, []row{{0, 19, uprung.Failure, 0, Closed}}},
		"less than half":   {Options{}, []row{{0, 100, uprung.Success, 0, Closed}, {0, 99, uprung.Failure, 0, Closed}}},
		"in the window": {Options{}, []row{
			{0, 19, uprung.Failure, 0, Closed}, {9 * time.Second, 1, uprung.Failure, 0, Open},
		}},
		"out of the window": {Options{}, []row{
			{0, 19, uprung.Failure, 0, Closed}, {10 * time.Second, 1, uprung.Failure, 0, Closed},
		}},
		"what does not count": {Options{Consecutive: 2}, []row{
			{0, 1000, uprung.Overload, 0, Closed}, {0, 1000, uprung.Ignored, 0, Closed},
			{0, 1, uprung.Failure, 0, Closed}, {0, 10, uprung.Ignored, 0, Closed}, {0, 1, uprung.Failure, 0, Open},
		}},
		"in a row": {Options{Consecutive: 3}, []row{
			{0, 2, uprung.Failure, 0, Closed}, {0, 1, uprung.Success, 0, Closed}, {0, 2, uprung.Failure, 0, Closed}, {0, 1, uprung.Failure, 0, Open},
		}},
		"in a row, over hours": {Options{Consecutive: 3}, []row{
			{0, 2, uprung.Failure, 0, Closed}, {time.Hour, 1, uprung.Failure, 0, Open},
		}},
		"slow as failures": {Options{SlowCall: time.Second}, []row{
			{0, 10, uprung.Success, time.Second, Closed}, {0, 10, uprung.Success, time.Second + 1, Open},
		}},
		"slow with their ratio": {Options{SlowCall: time.Second, SlowRatio: 0.8}, []row{
			{0, 4, uprung.Success, 0, Closed}, {0, 15, uprung.Success, 2 * time.Second, Closed}, {0, 1, uprung.Success, 2 * time.Second, Open},
		}},
		"another ratio": {Options{FailureRatio: 0.1, MinRequests: 10}, []row{
			{0, 9, uprung.Success, 0, Closed}, {0, 1, uprung.Failure, 0, Open},
		}},
		"all of them": {Options{FailureRatio: 1, MinRequests: 1}, []row{
			{0, 1, uprung.Success, 0, Closed}, {0, 50, uprung.Failure, 0, Closed},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := mustNew(t, &tt.o)
			for i, r := range tt.rows {
				now := int64(r.at) + 60*second
				for range r.n {
					p, err := b.allowAt(now-int64(r.takes), b.word.Load(), nil)
					if err != nil {
						t.Fatalf("row %d: %v", i, err)
					}
					p.doneAt(b, now, r.outcome)
				}
				if got := stateOf(b.word.Load()); got != r.want {
					t.Fatalf("row %d: state is %v, want %v", i, got, r.want)
				}
			}
		})
	}
}

// An outage costs its duration and an eighth of it, or a second.
func TestOpenTime(t *testing.T) {
	t.Parallel()
	c := mustNew(t, steady()).core
	for _, tt := range []struct{ outage, want time.Duration }{
		{0, time.Second}, {10 * time.Second, time.Second}, {16 * time.Second, 2 * time.Second}, {31 * time.Second, 2 * time.Second},
		{32 * time.Second, 4 * time.Second}, {4 * time.Minute, 16 * time.Second}, {time.Hour, 30 * time.Second}, {10000 * time.Hour, 30 * time.Second},
	} {
		if got := c.openTime(tt.outage); got != tt.want {
			t.Errorf("after %v it is open for %v, want %v", tt.outage, got, tt.want)
		}
	}
	c = mustNew(t, &Options{Seed: 7}).core
	shortest, longest := time.Hour, time.Duration(0)
	for range 1000 {
		open := c.openTime(0)
		shortest, longest = min(shortest, open), max(longest, open)
	}
	if shortest < 800*time.Millisecond || shortest > 810*time.Millisecond || longest > time.Second || longest < 990*time.Millisecond {
		t.Errorf("with jitter it is open for %v to %v, want 800ms to 1s", shortest, longest)
	}
	a, b := mustNew(t, &Options{Seed: 7}).core, mustNew(t, &Options{Seed: 7}).core
	if a.openTime(0) != b.openTime(0) {
		t.Error("the same seed gives other times")
	}
}

// An outage of d is noticed to be over soon after.
func TestRecovery(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{time.Second, 10 * time.Second, time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			b := mustNew(t, nil)
			start := time.Now()
			probed := 0
			for time.Since(start) < d || b.State() != Closed {
				o := uprung.Success
				if time.Since(start) < d {
					o = uprung.Failure
				}
				probed += end(b, 20, o)
				time.Sleep(20 * time.Millisecond)
				if d == time.Hour {
					time.Sleep(200 * time.Millisecond)
				}
			}
			if over := time.Since(start) - d; over > max(1100*time.Millisecond, d/8+100*time.Millisecond) {
				t.Errorf("an outage of %v is over %v late", d, over)
			}
			if d == time.Hour && probed > 200+20 {
				t.Errorf("%d calls were made in an outage of an hour, want about one every 30s", probed)
			}
		})
	}
}

// An outage that comes back soon goes on, and one that comes back late is another.
func TestOutagesThatComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := opened(t, steady())
		for range 40 { // of a second each
			time.Sleep(time.Second)
			end(b, 1, uprung.Failure)
		}
		if got := b.Stats().RetryAfter; got <= time.Second {
			t.Fatalf("open for %v, want longer after 40 s", got)
		}
		for _, tt := range []struct {
			pause  time.Duration
			longer bool
		}{{5 * time.Second, true}, {11 * time.Second, false}} {
			time.Sleep(b.Stats().RetryAfter)
			end(b, 3, uprung.Success)
			check(t, b, Closed)
			time.Sleep(tt.pause)
			end(b, 20, uprung.Failure)
			check(t, b, Open)
			if got := b.Stats().RetryAfter; (got > time.Second) != tt.longer {
				t.Errorf("%v after the end it is open for %v", tt.pause, got)
			}
		}
	})
}

func TestRejections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o := steady()
		o.Name = "orders"
		b := opened(t, o)
		last := time.Duration(math.MaxInt64)
		for at := range 100 {
			_, err := b.Allow()
			r, ok := errors.AsType[*uprung.Rejection](err)
			left := time.Second - time.Duration(at)*7*time.Millisecond
			if !ok || !errors.Is(err, ErrOpen) || errors.Is(err, ErrProbing) || r.Kind != uprung.KindBreaker || r.Name != "orders" {
				t.Fatalf("error is %v, want a rejection", err)
			}
			if r.RetryAfter < left || r.RetryAfter > left+10*time.Millisecond || r.RetryAfter > last {
				t.Fatalf("retry after %v, want %v or a little more", r.RetryAfter, left)
			}
			last = r.RetryAfter
			time.Sleep(7 * time.Millisecond)
		}
		if got := b.Stats().Rejected; got != 100 {
			t.Errorf("%d rejected, want 100", got)
		}
	})
}

func TestForce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var seen log
		o := steady()
		o.OnChange = seen.add
		b := mustNew(t, o)
		before := allow(t, b)
		b.Force(ForceOpen)
		check(t, b, Open)
		time.Sleep(time.Hour)
		if end(b, 10, uprung.Success) != 0 || b.Eligible() {
			t.Error("calls are let through while it is forced open")
		}
		if s := b.Stats(); !s.Forced || s.State != Open || s.RetryAfter != 0 || s.Rejected != 10 {
			t.Errorf("%+v, want it forced open", s)
		}
		b.Force(ForceClosed)
		if end(b, 100, uprung.Failure) != 100 || !b.Eligible() {
			t.Error("calls are refused while it is forced closed")
		}
		check(t, b, Closed)
		if s := b.Stats(); !s.Forced || s.Failures != 100 || s.WindowFailures != 100 {
			t.Errorf("%+v, want failures counted", s)
		}
		b.Force(ForceNone)
		before.Done(uprung.Failure)
		if end(b, 19, uprung.Failure) != 19 {
			t.Error("what was before is not forgotten")
		}
		check(t, b, Closed)
		end(b, 1, uprung.Failure)
		check(t, b, Open)
		b.Force(ForceNone)
		check(t, b, Closed)
		if got, want := seen.states(), "open (forced), closed (forced), open (failures), closed (forced)"; got != want {
			t.Errorf("events lead to %s, want %s", got, want)
		}
	})
	defer func() {
		if recover() == nil {
			t.Error("Force takes what is none of its constants")
		}
	}()
	mustNew(t, nil).Force(77)
}

func TestModes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := opened(t, steady())
		if err := b.SetMode(uprung.Shadow); err != nil {
			t.Fatal(err)
		}
		if got := end(b, 100, uprung.Failure); got != 100 || !b.Eligible() {
			t.Errorf("%d of 100 calls are let through in shadow, want all", got)
		}
		if s := b.Stats(); s.Shadowed != 100 || s.Rejected != 0 || s.Failures != 20 || s.State != Open {
			t.Errorf("%+v, want 100 shadowed calls, whose results do not count", s)
		}
		time.Sleep(time.Second)
		end(b, 3, uprung.Success) // probes, as if it did refuse
		check(t, b, Closed)
		if err := b.SetMode(uprung.Off); err != nil {
			t.Fatal(err)
		}
		if got := end(b, 100, uprung.Failure); got != 100 || b.Stats().Failures != 20 {
			t.Errorf("%d of 100 calls are let through when off, and counted: %+v", got, b.Stats())
		}
		check(t, b, Closed)
		if err := b.SetMode(12345); err == nil || b.Mode() != uprung.Off {
			t.Errorf("an invalid mode gives %v and mode %v", err, b.Mode())
		}
	})
}

// Percent refuses for a share of the keys, and always the same.
func TestPercent(t *testing.T) {
	t.Parallel()
	mode := uprung.Percent(50)
	b := mustNew(t, &Options{Mode: mode, Key: key.Header("User")})
	b.Force(ForceOpen)
	h := b.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	rt := b.Transport(answering(200, ""))
	refused := 0
	for i := range 100 {
		user := strings.Repeat("u", i)
		r := newRequest(t)
		r.Header.Set("User", user)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		err := send(rt, r)
		if want := mode.Enforces(user) && user != ""; (w.Code == 503) != (err != nil) || user != "" && (err != nil) != want {
			t.Errorf("user %d is refused: %d, %v, want %v", i, w.Code, err, want)
		}
		if err != nil {
			refused++
		}
	}
	if refused < 30 || refused > 70 {
		t.Errorf("%d of 100 users are refused, want about half", refused)
	}
	// By default by the host, and by the address of the peer.
	b = mustNew(t, &Options{Mode: mode})
	b.Force(ForceOpen)
	if err := send(b.Transport(answering(200, "")), newRequest(t)); (err != nil) != mode.Enforces("orders") {
		t.Errorf("error is %v, by the host", err)
	}
	w := httptest.NewRecorder()
	b.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if got := w.Code == 503; got != mode.Enforces("192.0.2.1") {
		t.Errorf("status is %d, by the address", w.Code)
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	notFound := errors.New("not found")
	o := Options{Consecutive: 2, Classify: func(err error) uprung.Outcome {
		if errors.Is(err, notFound) {
			return uprung.Success
		}
		return uprung.Failure
	}}
	b := mustNew(t, &o)
	call := func(err error) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { return 7, err }
	}
	other := mustNew(t, nil)
	other.Force(ForceOpen)
	_, refusal := other.Allow()
	for range 3 {
		for _, err := range []error{nil, notFound, refusal} {
			if n, got := Do(t.Context(), b, call(err)); n != 7 || !errors.Is(got, err) {
				t.Errorf("Do returns %d, %v, want 7, %v", n, got, err)
			}
		}
	}
	if s := b.Stats(); s.Successes != 6 || s.Ignored != 3 {
		t.Errorf("%+v, want 6 successes and 3 refusals that do not count", s)
	}
	fallback := func(_ context.Context, err error) (int, error) { return 9, nil }
	if n, err := DoOr(t.Context(), b, call(notFound), fallback); n != 7 || !errors.Is(err, notFound) {
		t.Errorf("DoOr returns %d, %v, want what is no failure", n, err)
	}
	if n, err := DoOr(t.Context(), b, call(nil), fallback); n != 7 || err != nil {
		t.Errorf("DoOr returns %d, %v, want 7", n, err)
	}
	for range 3 { // two failures, and a refusal
		if n, err := DoOr(t.Context(), b, call(errBroken), fallback); n != 9 || err != nil {
			t.Errorf("DoOr returns %d, %v, want the fallback", n, err)
		}
	}
	check(t, b, Open)
	if s := b.Stats(); s.Failures != 2 || s.Rejected != 1 {
		t.Errorf("%+v, want 2 failures and a refusal", s)
	}

	// Panics and Goexit count, and go on.
	b = mustNew(t, &Options{Consecutive: 2})
	func() {
		defer func() {
			if v := recover(); v != "oops" {
				t.Errorf("recovered %v, want oops", v)
			}
		}()
		_, _ = Do(t.Context(), b, func(context.Context) (int, error) { panic("oops") })
	}()
	var exited sync.WaitGroup
	exited.Go(func() {
		_, _ = Do(t.Context(), b, func(context.Context) (int, error) { runtime.Goexit(); return 0, nil })
	})
	exited.Wait()
	check(t, b, Open)
}

// A permit that is done twice, or is no permit, changes nothing.
func TestPermitsAreDoneOnce(t *testing.T) {
	t.Parallel()
	b := mustNew(t, nil)
	p := allow(t, b)
	p.Answered()
	p.Answered()
	p.Done(uprung.Failure)
	p.Done(uprung.Failure)
	p.Answered()
	var zero Permit
	zero.Answered()
	zero.Done(uprung.Failure)
	if s := b.Stats(); s.Failures != 1 || s.WindowRequests != 1 {
		t.Errorf("%+v, want one failure", s)
	}
}

// Copies of the permit of a probe end it once.
func TestCopiesOfProbes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := opened(t, steady())
		time.Sleep(time.Second)
		p := allow(t, b)
		for range 3 {
			again := p
			again.Done(uprung.Success)
		}
		check(t, b, HalfOpen)
	})
}

func TestEventsAreInOrder(t *testing.T) {
	t.Parallel()
	var seen log
	var inside, b = atomic.Int32{}, (*Breaker)(nil)
	b = mustNew(t, &Options{OpenFor: time.Millisecond, OpenMax: time.Millisecond, Consecutive: 1, Probes: 1, OnChange: func(e Event) {
		if inside.Add(1) != 1 {
			t.Error("two events are told at one time")
		}
		seen.add(e)
		_ = b.State()
		inside.Add(-1)
	}})
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for j := range 2000 {
				end(b, 1, []uprung.Outcome{uprung.Success, uprung.Failure}[(i+j)%2])
				runtime.Gosched()
			}
		})
	}
	callers.Wait()
	for i, e := range seen.events[1:] {
		if e.From != seen.events[i].To || e.At.Before(seen.events[i].At) && e.At.Sub(seen.events[i].At) < -time.Second {
			t.Fatalf("event %d is %+v, after %+v", i+1, e, seen.events[i])
		}
	}
	if seen.events[0].From != Closed || len(seen.events) < 3 {
		t.Errorf("%d events, the first is %+v", len(seen.events), seen.events[0])
	}
}

func TestAllocations(t *testing.T) {
	open := mustNew(t, nil)
	open.Force(ForceOpen)
	long := mustNew(t, &Options{OpenFor: time.Hour})
	end(long, 20, uprung.Failure)
	closed, slow := mustNew(t, nil), mustNew(t, &Options{SlowCall: time.Second, Consecutive: 5})
	group, err := NewGroup[string](nil)
	if err != nil {
		t.Fatal(err)
	}
	throttle, err := NewThrottle(nil)
	if err != nil {
		t.Fatal(err)
	}
	throttle.Done(uprung.Overload)
	work := func(context.Context) (int, error) { return 1, nil }
	ctx := t.Context()
	base := answering(200, "")
	resp, _ := base(newRequest(t))
	body := resp.Body
	rt := closed.Transport(roundTripper(func(*http.Request) (*http.Response, error) {
		resp.Body = body
		return resp, nil
	}))
	r := newRequest(t)
	for name, tt := range map[string]struct {
		most float64
		call func()
	}{
		"closed":      {0, func() { end(closed, 1, uprung.Success) }},
		"slow":        {0, func() { end(slow, 1, uprung.Success) }},
		"open":        {0.1, func() { end(long, 1, uprung.Success) }}, // one every 10 ms
		"forced":      {0, func() { end(open, 1, uprung.Success) }},
		"Do":          {0, func() { _, _ = Do(ctx, closed, work) }},
		"group":       {0, func() { p, _ := group.Allow("orders"); p.Done(uprung.Success) }},
		"eligible":    {0, func() { group.Eligible("orders") }},
		"throttle":    {0, func() { _ = throttle.Allow(); throttle.Done(uprung.Success) }},
		"transport":   {1, func() { _ = send(rt, r) }},
		"State, open": {0, func() { long.State() }},
	} {
		if got := testing.AllocsPerRun(1000, tt.call); got > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, tt.most)
		}
	}
}
