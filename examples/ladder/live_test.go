package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/internal/memnet"
)

// quiet is a rung with little traffic, without the technique to a server that is too slow.
func quiet() *ladder.Rung {
	return &ladder.Rung{
		Name: "quiet", Story: "a story", Judged: "all",
		Streams:  []ladder.Stream{{Tenant: "a", PerSecond: 50, Keys: 10, Judged: true}},
		Window:   time.Second,
		Patience: time.Second,
		Handler: func(with bool) (http.Handler, error) {
			if with {
				return ladder.NewOrigin(10, time.Millisecond, 100)
			}
			return ladder.NewOrigin(1, 100*time.Millisecond, 1e6)
		},
		Promises: []ladder.Promise{{
			Metric: "goodput", Title: "goodput", Better: ladder.Higher, Format: "%.2f", After: 0.9,
			Of: func(r *ladder.Record) float64 { return r.Goodput() },
		}},
	}
}

// newTestLive returns what serves the page, over a network in memory.
func newTestLive(t *testing.T) *live {
	t.Helper()
	network := &memnet.Network{}
	l, err := newLive(t.Context(), ladder.Config{
		Rungs: []*ladder.Rung{quiet()}, Duration: 10 * time.Second, Seed: 1,
		Listen: func() (net.Listener, error) { return network.Listen(), nil }, Dial: network.DialContext,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.stop(); l.running.Wait(); l.injector.Disarm() })
	return l
}

// post sends a request as the page does.
func (l *live) post(path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "http://127.0.0.1:8080"+path, nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w := httptest.NewRecorder()
	l.handler().ServeHTTP(w, r)
	return w
}

// next returns what the next event of a name tells.
func next[T any](t *testing.T, viewer chan event, name string) (v T) {
	t.Helper()
	for e := range viewer {
		if e.name == name {
			if err := json.Unmarshal(e.data, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return v
}

// view begins to watch.
func (l *live) view() chan event {
	viewer := make(chan event, 10_000)
	l.mu.Lock()
	l.viewers[viewer] = struct{}{}
	l.mu.Unlock()
	return viewer
}

func TestLiveClimbs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newTestLive(t)
		viewer := l.view()
		if got := l.post("/play"); got.Code != 200 {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if s := l.now(); s.Mode != "idle" || s.Error != "" {
			t.Errorf("state is %+v", s)
		}
		var with, without, results int
		for len(viewer) > 0 {
			switch e := <-viewer; e.name {
			case "progress":
				var p progress
				if err := json.Unmarshal(e.data, &p); err != nil {
					t.Fatal(err)
				}
				if p.Rung != "quiet" || p.Offered == 0 {
					t.Errorf("progress is %+v", p)
				}
				if p.With {
					with++
				} else {
					without++
				}
			case "results":
				results++
			}
		}
		if with < 5 || without < 5 || results < 2 {
			t.Errorf("%d reports with, %d without, %d of results", with, without, results)
		}
		w := httptest.NewRecorder()
		l.handler().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/results", nil))
		var got []result
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got) != 1 || got[0].Name != "quiet" || !got[0].OK || got[0].Shown[1] != "1.00" {
			t.Errorf("%v: results are %s", err, w.Body)
		}
	})
}

func TestLiveExplores(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newTestLive(t)
		for _, path := range []string{"/with/true", "/fault/slow"} {
			if got := l.post(path); got.Code != http.StatusConflict {
				t.Errorf("%s while nothing runs: %d", path, got.Code)
			}
		}
		if got := l.post("/explore/quiet"); got.Code != 200 {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
		look := func(what string, want func(progress) bool) {
			t.Helper()
			time.Sleep(3 * time.Second)
			viewer := l.view()
			if p := next[progress](t, viewer, "progress"); !want(p) {
				t.Errorf("%s: %+v", what, p)
			}
		}
		look("without", func(p progress) bool { return !p.With && p.P99 > 500 })
		l.post("/with/true")
		look("with", func(p progress) bool { return p.With && p.P99 < 10 && p.Failed == 0 && p.InFlight < 3 })
		l.post("/fault/fail")
		look("broken", func(p progress) bool { return p.Failed > 20 })
		if s := l.now(); s.Fault != "fail" || s.Mode != "exploring" || s.Rung != "quiet" || !s.With {
			t.Errorf("state is %+v", s)
		}
		l.post("/fault/none")
		look("mended", func(p progress) bool { return p.Failed == 0 && p.Served > 20 })
		for path, want := range map[string]int{"/explore/none": 404, "/fault/flood": 404} {
			if got := l.post(path); got.Code != want {
				t.Errorf("%s: %d, want %d", path, got.Code, want)
			}
		}
		l.post("/stop")
		synctest.Wait()
		if s := l.now(); s.Mode != "idle" {
			t.Errorf("state is %+v", s)
		}
	})
}

// The page can break things: no other site and no other machine may.
func TestLiveRefusesOthers(t *testing.T) {
	t.Parallel()
	l := newTestLive(t)
	for _, tt := range []struct {
		name, method, url, field, value string
		want                            int
	}{
		{"the page", "GET", "http://127.0.0.1:8080/", "", "", 200},
		{"by name", "GET", "http://localhost:8080/", "", "", 200},
		{"over IPv6", "GET", "http://[::1]:8080/ladder", "", "", 200},
		{"by another name", "GET", "http://ladder.example:8080/", "", "", 403},
		{"by another address", "GET", "http://192.0.2.1/", "", "", 403},
		{"another site", "POST", "http://127.0.0.1:8080/stop", "Origin", "http://evil.example", 403},
		{"another site, as browsers say", "POST", "http://127.0.0.1:8080/stop", "Sec-Fetch-Site", "cross-site", 403},
		{"another port", "POST", "http://127.0.0.1:8080/stop", "Origin", "http://127.0.0.1:9", 403},
		{"itself", "POST", "http://127.0.0.1:8080/stop", "Origin", "http://127.0.0.1:8080", 200},
		{"a link", "GET", "http://127.0.0.1:8080/stop", "", "", 405},
	} {
		r := httptest.NewRequest(tt.method, tt.url, nil)
		if tt.field != "" {
			r.Header.Set(tt.field, tt.value)
		}
		w := httptest.NewRecorder()
		l.handler().ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, w.Code, tt.want)
		}
	}
	for addr, ok := range map[string]bool{
		"127.0.0.1:8080": true, "localhost:0": true, "[::1]:80": true, "127.8.9.1:1": true,
		":8080": false, "0.0.0.0:8080": false, "192.0.2.1:80": false, "example.com:80": false, "8080": false,
	} {
		if err := loopback(addr); (err == nil) != ok {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestLivePageIsWhole(t *testing.T) {
	t.Parallel()
	for _, outside := range []string{"http://", "https://", "src=", "@import", "url("} {
		text := strings.ReplaceAll(string(page), "http://www.w3.org/2000/svg", "")
		if strings.Contains(text, outside) {
			t.Errorf("the page has %q, want nothing from elsewhere", outside)
		}
	}
}

func TestLiveIsBounded(t *testing.T) {
	t.Parallel()
	l := newTestLive(t)
	server := httptest.NewServer(l.handler())
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for at := range maxViewers + 1 {
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		if at == maxViewers {
			if resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("one too many gets %s", resp.Status)
			}
			continue
		}
		if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "event: state\n" && line != "event: results\n" {
			t.Errorf("page %d begins with %q, %v", at, line, err)
		}
	}
}
