package health

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
)

func TestNewMonitorNamesEverythingWrong(t *testing.T) {
	t.Parallel()
	_, err := NewMonitor(nil, &MonitorOptions{
		Name: strings.Repeat("x", 65), Interval: -1, Timeout: -1, Jitter: math.NaN(), Rise: -1, Fall: 1<<20 + 1, Concurrency: -2,
	})
	want := []string{
		"prober is nil, want what finds out whether a target works",
		`MonitorOptions.Name is "` + strings.Repeat("x", 65) + `", want 1 to 64 printable ASCII characters`,
		"MonitorOptions.Interval is -1ns, want >= 0",
		"MonitorOptions.Timeout is -1ns, want >= 0",
		"MonitorOptions.Jitter is NaN, want at most 1",
		"MonitorOptions.Rise is -1, want 0 to 1048576",
		"MonitorOptions.Fall is 1048577, want 0 to 1048576",
		"MonitorOptions.Concurrency is -2, want 0 to 1048576",
	}
	if got := "health: " + strings.Join(want, "\nhealth: "); err == nil || err.Error() != got {
		t.Errorf("error\n%v\nwant\n%s", err, got)
	}
}

func TestRunTwiceIsAnErrorAndAgainIsNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &servers{}
		m := newMonitor(t, s, nil, "a")
		for range 2 {
			stop := running(t, m)
			synctest.Wait()
			if err := m.Run(t.Context()); err == nil {
				t.Error("a second Run at one time returned nil")
			}
			time.Sleep(10 * time.Second)
			before := len(s.times("a"))
			stop()
			time.Sleep(time.Minute)
			if after := len(s.times("a")); before == 0 || after != before {
				t.Errorf("%d probes while it ran, %d after it had ended", before, after)
			}
		}
	})
}

func TestOptionsAreCopied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &servers{}
		o := &MonitorOptions{Interval: time.Second, Jitter: -1}
		m := newMonitor(t, s, o, "a")
		o.Interval = time.Hour
		running(t, m)
		time.Sleep(10500 * time.Millisecond)
		if n := len(s.times("a")); n != 11 {
			t.Errorf("%d probes in 10.5s, one at once and then each second, want 11", n)
		}
	})
}

func TestSetTargetsWhileRunning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &servers{}
		s.set("b", false)
		cancelled := make(chan string, 1)
		m := newMonitor(t, ProberFunc(func(ctx context.Context, addr string) error {
			if addr != "slow" {
				return s.Probe(ctx, addr)
			}
			<-ctx.Done()
			cancelled <- fmt.Sprint(context.Cause(ctx))
			return ctx.Err()
		}), &MonitorOptions{Timeout: time.Hour, Jitter: -1})
		running(t, m)
		time.Sleep(time.Minute)
		setTargets(t, m, "a", "b", "slow")
		time.Sleep(time.Minute)
		view := m.View()
		if view.State("a") != Healthy || view.State("b") != Unhealthy || view.State("slow") != Unknown {
			t.Errorf("a is %v, b %v, slow %v", view.State("a"), view.State("b"), view.State("slow"))
		}
		setTargets(t, m, "slow", "b", "a")
		if m.View() != view {
			t.Error("the same targets made another view")
		}
		setTargets(t, m, "b", "c")
		if got := m.View().State("b"); got != Unhealthy {
			t.Errorf("b is %v after a change of other targets, want unhealthy", got)
		}
		if got := <-cancelled; got != "context canceled" {
			t.Errorf("the probe of a target that is gone ended by %s", got)
		}
		synctest.Wait()
		probes := len(s.times("a"))
		time.Sleep(time.Minute)
		if got := len(s.times("a")); got != probes {
			t.Errorf("a was probed %d times after it was removed", got-probes)
		}
		if err := m.SetTargets([]Target{{ID: "x"}, {}, {ID: "x"}}); err == nil || m.View().State("c") != Healthy {
			t.Errorf("targets that are not valid: %v, and c is %v, want an error and healthy", err, m.View().State("c"))
		}
		if s := m.Stats(); s.Healthy != 1 || s.Unhealthy != 1 || s.Unknown != 0 {
			t.Errorf("Stats() = %+v, want b and c", s)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var active, most, calls atomic.Int64
		var ids []string
		for i := range 100 {
			ids = append(ids, fmt.Sprint(i))
		}
		m := newMonitor(t, Func(func(context.Context) error {
			calls.Add(1)
			most.Store(max(most.Load(), active.Add(1)))
			defer active.Add(-1)
			time.Sleep(100 * time.Millisecond)
			return nil
		}), &MonitorOptions{Concurrency: 4}, ids...)
		running(t, m)
		time.Sleep(time.Minute)
		if most.Load() != 4 {
			t.Errorf("%d probes at one time, want 4", most.Load())
		}
		if s := m.Stats(); s.Healthy != 100 || s.TimedOut != 0 {
			t.Errorf("Stats() = %+v, want all healthy: who waits for its turn has not timed out", s)
		}
	})
}

func TestPanicAndGoexitAreFailures(t *testing.T) {
	bubble(t, func(t *testing.T) {
		errs := make(chan error, 3)
		m := newMonitor(t, ProberFunc(func(_ context.Context, addr string) error {
			if addr == "panics" {
				panic("oops")
			}
			goexit()
			return nil
		}), &MonitorOptions{Fall: 1, OnChange: func(c Change) { errs <- fmt.Errorf("%s: %w", c.Target.ID, c.Err) }}, "panics", "goexits")
		running(t, m)
		got := map[string]bool{(<-errs).Error(): true, (<-errs).Error(): true}
		for _, want := range []string{"panics: health: probe panicked: oops", "goexits: health: probe ended its goroutine"} {
			if !got[want] {
				t.Errorf("errors %v, want %q", got, want)
			}
		}
	})
}

func TestReport(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const S, F, O, I = uprung.Success, uprung.Failure, uprung.Overload, uprung.Ignored
		s := &servers{}
		m := newMonitor(t, s, &MonitorOptions{Interval: time.Hour, Jitter: -1}, "a")
		report := func(want State, outcomes ...uprung.Outcome) {
			t.Helper()
			for _, o := range outcomes {
				m.Report("a", o)
			}
			if got := m.View().State("a"); got != want {
				t.Errorf("after reports of %v the state is %v, want %v", outcomes, got, want)
			}
		}
		report(Unknown, F, F, F, F) // nothing runs
		stop := running(t, m)
		synctest.Wait()
		m.Report("never heard of", F)
		report(Healthy, F, F, S, F, F, O, I)
		report(Unhealthy, F)
		report(Unhealthy, S, S, S, S, F, O, I)
		time.Sleep(time.Hour + time.Minute)
		report(Unhealthy, F, S)
		time.Sleep(time.Hour)
		report(Healthy, F, F)
		if got := m.Stats(); got.ReportedFailures != 7 || got.Lowered != 1 || got.Raised != 2 {
			t.Errorf("Stats() = %+v, want 7 reported failures that counted, lowered once and raised twice", got)
		}
		stop()
		report(Healthy, F, F, F)
	})
}

func TestReportDoesNotAllocate(t *testing.T) {
	s := &servers{}
	m := newMonitor(t, s, &MonitorOptions{Fall: 1 << 20, Interval: time.Hour}, "a")
	m.running.Store(true)
	for _, outcome := range []uprung.Outcome{uprung.Success, uprung.Failure, uprung.Overload, uprung.Ignored} {
		if n := testing.AllocsPerRun(100, func() { m.Report("a", outcome) }); n != 0 {
			t.Errorf("Report of %v allocates %v times, want none", outcome, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = m.View().Usable("a") }); n != 0 {
		t.Errorf("View().Usable allocates %v times, want none", n)
	}
}

func TestReportTakesNoLockWithoutAStreak(t *testing.T) {
	t.Parallel()
	m := newMonitor(t, &servers{}, nil, "a", "b")
	m.running.Store(true)
	for range 3 {
		m.Report("b", uprung.Failure)
	}
	m.mu.Lock() // which would block whoever needs it
	defer m.mu.Unlock()
	m.Report("a", uprung.Success)
	m.Report("a", uprung.Overload)
	m.Report("b", uprung.Failure)
	m.Report("b", uprung.Success)
	m.Report("c", uprung.Failure)
}

func TestViewChangesOnlyWithAState(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &servers{}
		m := newMonitor(t, s, nil, "a", "b")
		running(t, m)
		time.Sleep(2 * time.Second)
		view := m.View()
		time.Sleep(time.Minute)
		if m.View() != view {
			t.Error("probes that change nothing made another view")
		}
		select {
		case <-view.Changed():
			t.Error("the view has changed and is the latest one")
		default:
		}
		s.set("a", false)
		start := time.Now()
		<-view.Changed()
		if took := time.Since(start); took < 9*time.Second || took > 17*time.Second {
			t.Errorf("a server that is down is noticed after %v, want about three intervals", took)
		}
		if view.State("a") != Healthy || m.View().State("a") != Unhealthy {
			t.Errorf("a was %v and is %v, want healthy and unhealthy", view.State("a"), m.View().State("a"))
		}
		// A slow subscriber sees the latest view.
		slow := m.View()
		s.set("a", true)
		s.set("b", false)
		time.Sleep(time.Minute)
		<-slow.Changed()
		if v := m.View(); v.State("a") != Healthy || v.State("b") != Unhealthy {
			t.Errorf("a is %v and b %v, want healthy and unhealthy", v.State("a"), v.State("b"))
		}
	})
}

func TestOnChangeIsInOrderAndUnderNoLock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &servers{}
		s.set("a", false)
		var m *Monitor
		var got []string
		m = newMonitor(t, s, &MonitorOptions{Rise: 1, Fall: 1, Jitter: -1, Interval: time.Second, OnChange: func(c Change) {
			got = append(got, fmt.Sprint(c.Target.ID, " ", c.From, "-", c.To, " ", c.Err))
			_ = m.Stats() // these would block
			m.Report("a", uprung.Success)
			setTargets(t, m, "a")
		}}, "a")
		stop := running(t, m)
		for i := range 4 {
			time.Sleep(time.Second / 2)
			s.set("a", i%2 == 0)
			time.Sleep(time.Second / 2)
		}
		time.Sleep(time.Second / 2)
		m.Report("a", uprung.Failure)
		s.set("a", true)
		time.Sleep(time.Second)
		m.Report("a", uprung.Failure)
		stop()
		want := []string{
			"a unknown-unhealthy down", "a unhealthy-healthy <nil>", "a healthy-unhealthy down",
			"a unhealthy-healthy <nil>", "a healthy-unhealthy down", "a unhealthy-healthy <nil>", "a healthy-unhealthy <nil>",
		}
		if !slices.Equal(got, want) {
			t.Errorf("changes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestASlowOnChangeBlocksNothingAndMissesNoState(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &servers{}
		last := map[string]State{}
		calls := 0
		m := newMonitor(t, s, &MonitorOptions{Rise: 1, Fall: 1, Interval: time.Second, OnChange: func(c Change) {
			if last[c.Target.ID] != c.From {
				t.Errorf("%s was told to be %v and changes from %v", c.Target.ID, last[c.Target.ID], c.From)
			}
			last[c.Target.ID] = c.To
			calls++
			time.Sleep(7 * time.Second)
		}}, "a", "b")
		stop := running(t, m)
		for i := range 200 {
			s.set("a", i%2 == 0)
			time.Sleep(3 * time.Second)
			if want := []State{Healthy, Unhealthy}[i%2]; m.View().State("a") != want {
				t.Fatalf("in round %d a is %v, want %v", i, m.View().State("a"), want)
			}
		}
		stop()
		if last["a"] != Unhealthy || last["b"] != Healthy || calls > 100 {
			t.Errorf("told in the end that %v, by %d calls, want a unhealthy and b healthy in fewer than there were changes", last, calls)
		}
	})
}

func TestEnqueueIsBounded(t *testing.T) {
	t.Parallel()
	a, b := Target{ID: "a"}, Target{ID: "b"}
	var pending []Change
	for _, c := range []Change{
		{Target: a, From: Unknown, To: Healthy},
		{Target: b, From: Unknown, To: Unhealthy},
		{Target: a, From: Healthy, To: Unhealthy},
		{Target: a, From: Unhealthy, To: Healthy},
	} {
		pending = enqueue(pending, c)
	}
	want := []Change{{Target: b, From: Unknown, To: Unhealthy}, {Target: a, From: Unknown, To: Healthy}}
	if fmt.Sprint(pending) != fmt.Sprint(want) {
		t.Errorf("pending %v, want %v", pending, want)
	}
	if pending = enqueue(enqueue(nil, want[0]), Change{Target: b, From: Unhealthy, To: Unknown}); len(pending) != 0 {
		t.Errorf("there and back is %v, want nothing", pending)
	}
}

func TestTransitionsAreLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		s := &servers{}
		m := newMonitor(t, s, &MonitorOptions{Name: "backends", Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))}, "a")
		stop := running(t, m)
		time.Sleep(time.Minute)
		s.set("a", false)
		time.Sleep(time.Minute)
		stop()
		want := `level=INFO msg="health of a target changed" monitor=backends target=a addr=a from=unknown to=healthy
level=WARN msg="health of a target changed" monitor=backends target=a addr=a from=healthy to=unhealthy error=down
`
		if log.String() != want {
			t.Errorf("log is\n%swant\n%s", log.String(), want)
		}
	})
}

// Invariants while everything happens at once.
func TestMonitorStress(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	s := &servers{}
	var last sync.Map
	m := newMonitor(t, s, &MonitorOptions{Interval: time.Millisecond, Rise: 1, Fall: 1, OnChange: func(c Change) {
		if c.From == c.To {
			t.Errorf("%s changes from %v to the same", c.Target.ID, c.From)
		}
		last.Store(c.Target.ID, c.To)
	}})
	stop := running(t, m)
	var all sync.WaitGroup
	for range 3 {
		seed := r.Uint64()
		all.Go(func() {
			for i := range uint64(20_000) {
				id := string(rune('a' + (seed+i*7)%8))
				m.Report(id, uprung.Outcome((seed>>3+i)%4))
				v := m.View()
				if v.Usable(id) != (v.State(id) != Unhealthy) {
					t.Errorf("view of %s contradicts itself", id)
				}
			}
		})
	}
	for i := range 300 {
		var ids []string
		for j := range 8 {
			if (i>>uint(j%4))&1 == 0 {
				ids = append(ids, string(rune('a'+j)))
			}
		}
		setTargets(t, m, ids...)
		s.set(string(rune('a'+i%8)), i%3 == 0)
	}
	all.Wait()
	setTargets(t, m, "a", "b", "c")
	stop()
	v := m.View()
	if got := m.Stats(); got.Healthy+got.Unhealthy+got.Unknown != 3 {
		t.Errorf("Stats() = %+v, want 3 targets", got)
	}
	if len(m.pending) != 0 || len(m.overdue) != 0 {
		t.Errorf("%d changes and %d probes are left", len(m.pending), len(m.overdue))
	}
	for id := range v.known {
		if told, ok := last.Load(id); ok && v.State(id) != Unknown && told != v.State(id) {
			t.Errorf("%s is %v and was told to be %v", id, v.State(id), told)
		}
	}
}
