package health

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

func TestTrap27AlternatingResultsCauseNoTransition(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n atomic.Int64
		alternate := Func(func(context.Context) error {
			if n.Add(1)%2 == 0 {
				return errDown
			}
			return nil
		})
		var changes []Change
		m := newMonitor(t, alternate, &MonitorOptions{OnChange: func(c Change) { changes = append(changes, c) }}, "a")
		stop := running(t, m)
		time.Sleep(2 * time.Second)
		settled := m.View()
		time.Sleep(10 * time.Minute)
		if m.View() != settled || m.View().State("a") != Healthy {
			t.Errorf("after %d alternating results the view is %p and the state %v, want %p and healthy", n.Load(), m.View(), m.View().State("a"), settled)
		}
		stop()
		if n.Load() < 100 || len(changes) != 1 {
			t.Errorf("%d probes, changes %v, want more than 100, and the first one only", n.Load(), changes)
		}
	})
}

func TestTrap28UnknownIsUsable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := &servers{}
		s.set("a", false)
		m := newMonitor(t, s, nil, "a")
		check := func(when string, state State, usable bool) {
			t.Helper()
			if v := m.View(); v.State("a") != state || v.Usable("a") != usable {
				t.Errorf("%s: %v, usable %v, want %v, %v", when, v.State("a"), v.Usable("a"), state, usable)
			}
		}
		check("before Run", Unknown, true)
		if !m.View().Usable("never heard of") {
			t.Error("an ID that no target has is not usable")
		}
		running(t, m)
		time.Sleep(7 * time.Second)
		check("after a failure or two", Unknown, true)
		time.Sleep(10 * time.Second)
		check("after three failures", Unhealthy, false)
		// With another address it is another server.
		if err := m.SetTargets([]Target{{ID: "a", Addr: "b"}}); err != nil {
			t.Fatal(err)
		}
		check("with another address", Unknown, true)
	})
}

func TestTrap29StateIsPerMonitorAndTarget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		shallow, deep := &servers{}, &servers{}
		deep.set("a", false)
		one, two := newMonitor(t, shallow, nil, "a", "b"), newMonitor(t, deep, nil, "a", "b")
		running(t, one)
		running(t, two)
		time.Sleep(time.Minute)
		for _, tt := range []struct {
			m    *Monitor
			id   string
			want State
		}{{one, "a", Healthy}, {one, "b", Healthy}, {two, "a", Unhealthy}, {two, "b", Healthy}} {
			if got := tt.m.View().State(tt.id); got != tt.want {
				t.Errorf("%s is %v, want %v", tt.id, got, tt.want)
			}
		}
	})
}

func TestTrap30JitterOnFirstAndLaterProbes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 200
		s := &servers{}
		var ids []string
		for i := range n {
			ids = append(ids, fmt.Sprint("target-", i))
		}
		m := newMonitor(t, s, nil, ids...)
		start := time.Now()
		running(t, m)
		time.Sleep(time.Second)
		if got := m.Stats(); got.Unknown != 0 {
			t.Errorf("%d targets without a verdict after a second", got.Unknown)
		}
		time.Sleep(20 * time.Minute)
		first, second := make([]int, 4), make(map[time.Duration]int)
		for _, id := range ids {
			times := s.times(id)
			first[int(4*times[0].Sub(start)/time.Second)]++
			for i, at := range times[1:] {
				gap := at.Sub(times[i])
				if gap < 4500*time.Millisecond || gap > 5500*time.Millisecond {
					t.Fatalf("%s is probed after %v, want 4.5s to 5.5s", id, gap)
				}
				second[gap]++
			}
			if mean := times[len(times)-1].Sub(times[0]) / time.Duration(len(times)-1); mean < 4900*time.Millisecond || mean > 5100*time.Millisecond {
				t.Errorf("%s is probed every %v on average, want about 5s", id, mean)
			}
		}
		for quarter, count := range first {
			if count < n/16 {
				t.Errorf("%d of %d first probes are in quarter %d of the first second, want about a quarter", count, n, quarter)
			}
		}
		if len(second) < n {
			t.Errorf("%d different times between probes, want many more", len(second))
		}
	})
}

func TestTrap31ProbeBodyIsDrained(t *testing.T) {
	for _, tt := range []struct {
		name        string
		size        int
		connections int
	}{{"no body", 0, 1}, {"a body", 10_000, 1}, {"as long as the limit", 64 << 10, 1}, {"longer", 100_000, 10}} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				listener := memnet.Listen()
				server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = w.Write(bytes.Repeat([]byte("x"), tt.size))
				})}
				var connections atomic.Int64
				server.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateNew {
						connections.Add(1)
					}
				}
				go func() { _ = server.Serve(listener) }()
				defer server.Close()
				transport := &http.Transport{DialContext: listener.DialContext}
				defer transport.CloseIdleConnections()
				p, err := NewHTTP(&HTTPOptions{Client: &http.Client{Transport: transport}})
				if err != nil {
					t.Fatal(err)
				}
				for range 10 {
					if err := p.Probe(t.Context(), "example.com"); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // until the connection is idle
				}
				if got := connections.Load(); got != int64(tt.connections) {
					t.Errorf("10 probes took %d connections, want %d", got, tt.connections)
				}
			})
		})
	}
}

func TestTrap32TimedOutProbesLeakNothing(t *testing.T) {
	const n = 50
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprint("target-", i))
	}
	t.Run("that honour their context", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			var active atomic.Int64
			m := newMonitor(t, Func(func(ctx context.Context) error {
				active.Add(1)
				defer active.Add(-1)
				<-ctx.Done()
				return ctx.Err()
			}), nil, ids...)
			stop := running(t, m)
			time.Sleep(time.Minute)
			start := time.Now()
			stop()
			if left := active.Load(); left != 0 {
				t.Errorf("%d probes are left after Run", left)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("Run ended %v after its context, want at once", took)
			}
			if s := m.Stats(); s.Unhealthy != n || s.TimedOut < 10*n || s.Failed+s.Skipped+s.Succeeded != 0 {
				t.Errorf("Stats() = %+v, want %d unhealthy by timeouts alone", s, n)
			}
		})
	})
	t.Run("that ignore it", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			var active, most atomic.Int64
			release := make(chan struct{})
			m := newMonitor(t, Func(func(context.Context) error {
				most.Store(max(most.Load(), active.Add(1)))
				defer active.Add(-1)
				<-release
				return nil
			}), &MonitorOptions{Concurrency: 7}, ids...)
			stop := running(t, m)
			time.Sleep(time.Minute)
			if active.Load() != n || most.Load() != n {
				t.Errorf("%d probes are under way and were %d at most, want %d, one for each target", active.Load(), most.Load(), n)
			}
			if s := m.Stats(); s.Unhealthy != n || s.TimedOut != n || s.Skipped < 10*n {
				t.Errorf("Stats() = %+v, want %d unhealthy, by one timeout each and then none begun", s, n)
			}
			// Neither does another Run begin more, nor does removing and adding a target.
			setTargets(t, m)
			synctest.Wait()
			setTargets(t, m, ids...)
			time.Sleep(time.Minute)
			start := time.Now()
			stop()
			if took := time.Since(start); took != DefaultTimeout {
				t.Errorf("Run ended %v after its context, want %v", took, DefaultTimeout)
			}
			stop = running(t, m)
			time.Sleep(time.Minute)
			stop()
			if most.Load() != n {
				t.Errorf("%d probes were under way, want %d", most.Load(), n)
			}
			// The bubble fails if a goroutine does not end by itself.
			close(release)
			synctest.Wait()
			if left := active.Load(); left != 0 || len(m.overdue) != 0 {
				t.Errorf("%d probes and %d entries are left", left, len(m.overdue))
			}
			running(t, m)
			time.Sleep(time.Minute)
			if s := m.Stats(); s.Healthy != n {
				t.Errorf("Stats() = %+v, want all healthy again", s)
			}
		})
	})
}

func TestTrap33ConcurrentRequestsShareOneRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var calls atomic.Int64
		r := newRegistry(t, nil, Check{Name: "database", Probe: func(ctx context.Context) error {
			calls.Add(1)
			select {
			case <-time.After(20 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}})
		ready := r.Ready()
		ask := func(ctx context.Context) int {
			w := httptest.NewRecorder()
			ready.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil).WithContext(ctx))
			return w.Code
		}
		start := time.Now()
		// The one who began it goes away, which fails nobody else.
		first, leave := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			ask(first)
		}()
		synctest.Wait()
		var all sync.WaitGroup
		for range 19 {
			all.Go(func() {
				if code := ask(t.Context()); code != http.StatusOK {
					t.Errorf("status %d, want 200", code)
				}
			})
		}
		synctest.Wait()
		leave()
		<-left
		if took := time.Since(start); took != 0 {
			t.Errorf("who left had to wait for %v", took)
		}
		all.Wait()
		if took := time.Since(start); calls.Load() != 1 || took != 20*time.Millisecond {
			t.Errorf("20 requests made %d calls and took %v, want 1 and 20ms", calls.Load(), took)
		}
		for range 5 { // within the TTL
			ask(t.Context())
		}
		if calls.Load() != 1 {
			t.Errorf("%d calls within the TTL, want 1", calls.Load())
		}
		time.Sleep(time.Second)
		ask(t.Context())
		if calls.Load() != 2 {
			t.Errorf("%d calls after the TTL, want 2", calls.Load())
		}
	})
}

func TestTrap34ReadinessFlipsBeforeDrain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, nil)
		listener := memnet.Listen()
		mux := http.NewServeMux()
		mux.Handle("/readyz", r.Ready())
		mux.Handle("/livez", r.Live())
		mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { time.Sleep(3 * time.Second) })
		server := &http.Server{Handler: mux}
		go func() { _ = server.Serve(listener) }()
		transport := &http.Transport{DialContext: listener.DialContext}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport}
		get := func(path string) (int, string) {
			resp, err := client.Get("http://example.com" + path)
			if err != nil {
				return 0, err.Error()
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, string(body)
		}
		if code, body := get("/readyz"); code != 200 || body != "ok\n" {
			t.Fatalf("%d %q before the drain, want 200 ok", code, body)
		}
		drained := make(chan error)
		start := time.Now()
		go func() { drained <- r.Drain(t.Context(), server.Shutdown) }()
		synctest.Wait()
		if code, body := get("/readyz"); code != 503 || body != "draining\n" {
			t.Errorf("%d %q at once, want 503 draining", code, body)
		}
		if code, _ := get("/livez"); code != 200 {
			t.Errorf("liveness is %d while draining, want 200", code)
		}
		// Requests are served for as long as balancers may send some, and those that
		// are in progress then are finished.
		time.Sleep(4500 * time.Millisecond)
		if code, body := get("/slow"); code != 200 {
			t.Errorf("a request that came 4.5s into the drain got %d %s", code, body)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took < 7500*time.Millisecond || took > 9*time.Second {
			t.Errorf("the drain took %v, want 5s and what was left of the last request", took)
		}
		if code, _ := get("/readyz"); code != 0 {
			t.Errorf("a request after the drain got %d", code)
		}
	})
}
