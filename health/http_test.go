package health

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// ask asks a handler, with an Accept field unless it is empty.
func ask(h http.Handler, method, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestReadyAsText(t *testing.T) {
	secret := func(context.Context) error { return errors.New("dial tcp 10.0.0.1: no\nroute") }
	for _, tt := range []struct {
		name    string
		verbose bool
		checks  []Check
		code    int
		body    string
	}{
		{"no checks", false, nil, 200, "ok\n"},
		{"passes", false, []Check{{Name: "a", Probe: passing}}, 200, "ok\n"},
		{"warns", false, []Check{{Name: "a", Probe: passing}, {Name: "b", Probe: secret, Informative: true}}, 200, "ok\nwarn: b\n"},
		{"fails", false, []Check{
			{Name: "a", Probe: secret}, {Name: "b", Probe: passing}, {Name: "c", Probe: secret, Informative: true}, {Name: "d", Probe: secret, Live: true},
		}, 503, "fail: a\nwarn: c\nfail: d\n"},
		{"fails verbosely", true, []Check{{Name: "a", Probe: secret}}, 503, "fail: a: dial tcp 10.0.0.1: no route\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newRegistry(t, &RegistryOptions{Verbose: tt.verbose}, tt.checks...).Ready()
				w := ask(h, http.MethodGet, "")
				if w.Code != tt.code || w.Body.String() != tt.body {
					t.Errorf("%d %q, want %d %q", w.Code, w.Body, tt.code, tt.body)
				}
				want := map[string]string{
					"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", "Vary": "Accept",
					"X-Content-Type-Options": "nosniff", "Content-Length": w.Header().Get("Content-Length"),
				}
				got := map[string]string{}
				for name, values := range w.Header() {
					got[name] = strings.Join(values, "|")
				}
				if !maps.Equal(got, want) {
					t.Errorf("header %v, want %v", got, want)
				}
				if w := ask(h, http.MethodHead, ""); w.Code != tt.code || w.Body.Len() != 0 || w.Header().Get("Content-Length") != got["Content-Length"] {
					t.Errorf("HEAD: %d %q %v", w.Code, w.Body, w.Header())
				}
				if w := ask(h, http.MethodPost, ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
					t.Errorf("POST: %d %v, want 405 and what is allowed", w.Code, w.Header())
				}
			})
		})
	}
}

func TestReadyAsDocument(t *testing.T) {
	bubble(t, func(t *testing.T) { // where it is the year 2000
		checks := []Check{
			{Name: "database", Probe: passing},
			{Name: "search", Probe: failing, Informative: true},
			{Name: "queue", Probe: failing},
		}
		for _, tt := range []struct {
			checks  []Check
			verbose bool
			code    int
			want    string
		}{
			{nil, false, 200, `{"status":"pass"}`},
			{checks[:1], false, 200, `{"status":"pass","checks":{"database":[{"status":"pass","time":"2000-01-01T00:00:00Z"}]}}`},
			{checks[1:2], false, 200, `{"status":"warn","checks":{"search":[{"status":"warn","time":"2000-01-01T00:00:00Z"}]}}`},
			{checks[1:], true, 503, `{"status":"fail","checks":{` +
				`"queue":[{"status":"fail","time":"2000-01-01T00:00:00Z","output":"down"}],` +
				`"search":[{"status":"warn","time":"2000-01-01T00:00:00Z","output":"down"}]}}`},
		} {
			h := newRegistry(t, &RegistryOptions{Verbose: tt.verbose}, tt.checks...).Ready()
			for accept, media := range map[string]string{
				"application/health+json":                   healthType,
				"application/json":                          jsonType,
				"text/plain;q=0.1, application/health+json": healthType,
			} {
				w := ask(h, http.MethodGet, accept)
				if w.Code != tt.code || w.Body.String() != tt.want+"\n" || !json.Valid(w.Body.Bytes()) {
					t.Errorf("%d %s, want %d %s", w.Code, w.Body, tt.code, tt.want)
				}
				if got := w.Header().Get("Content-Type"); got != media || w.Header().Get("Vary") != "Accept" || w.Header().Get("Cache-Control") != "no-store" {
					t.Errorf("Accept %q: header %v, want %s", accept, w.Header(), media)
				}
			}
		}
		// The time is that of the result, not of the answer.
		h := newRegistry(t, nil, checks[0]).Ready()
		first := ask(h, http.MethodGet, healthType).Body.String()
		time.Sleep(time.Second / 2)
		if second := ask(h, http.MethodGet, healthType).Body.String(); second != first {
			t.Errorf("a result that is kept is told as %s, and was %s", second, first)
		}
		r := newRegistry(t, &RegistryOptions{DrainWait: -1}, checks...)
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w := ask(r.Ready(), http.MethodGet, "application/health+json"); w.Code != 503 || w.Body.String() != `{"status":"fail","output":"draining"}`+"\n" {
			t.Errorf("draining: %d %s", w.Code, w.Body)
		}
		synctest.Wait()
	})
}

// What a check says of itself is in no answer and no metric, unless it was asked
// for.
func TestErrorsAreNotTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, nil,
			Check{Name: "a", Probe: func(context.Context) error { return errors.New("s3cret") }},
			Check{Name: "b", Live: true, Startup: true, Probe: func(context.Context) error { panic("s3cret") }})
		for _, h := range []http.Handler{r.Ready(), r.Live(), r.Startup()} {
			for _, accept := range []string{"", "application/json"} {
				if w := ask(h, http.MethodGet, accept); w.Code != 503 || strings.Contains(w.Body.String(), "s3cret") {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			}
		}
		for m := range r.Metrics {
			for _, label := range m.Labels {
				if strings.Contains(label.Value, "s3cret") {
					t.Errorf("%+v", m)
				}
			}
		}
	})
}

func TestLiveDependsOnNoDependency(t *testing.T) {
	bubble(t, func(t *testing.T) {
		asked := false
		stuck := false
		r := newRegistry(t, &RegistryOptions{DrainWait: -1},
			Check{Name: "database", Probe: func(context.Context) error { asked = true; return errDown }},
			Check{Name: "warm", Startup: true, Probe: failing},
			Check{Name: "loop", Live: true, Probe: func(context.Context) error {
				if stuck {
					return errDown
				}
				return nil
			}})
		if w := ask(r.Live(), http.MethodGet, ""); w.Code != 200 || w.Body.String() != "ok\n" || asked {
			t.Errorf("%d %q, database asked %v, want 200 and not asked", w.Code, w.Body, asked)
		}
		if err := r.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w := ask(r.Live(), http.MethodGet, ""); w.Code != 200 {
			t.Errorf("%d while draining, want 200", w.Code)
		}
		stuck = true
		time.Sleep(2 * time.Second)
		if w := ask(r.Live(), http.MethodGet, ""); w.Code != 503 || w.Body.String() != "fail: loop\n" {
			t.Errorf("%d %q when stuck, want 503", w.Code, w.Body)
		}
	})
}

func TestStartupIsOverForGood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		warm, calls := false, 0
		r := newRegistry(t, nil,
			Check{Name: "database", Probe: failing},
			Check{Name: "warm", Startup: true, Probe: func(context.Context) error {
				calls++
				if !warm {
					return errDown
				}
				return nil
			}})
		startup := r.Startup()
		if w := ask(startup, http.MethodGet, ""); w.Code != 503 || w.Body.String() != "fail: warm\n" {
			t.Errorf("%d %q before, want 503", w.Code, w.Body)
		}
		warm = true
		time.Sleep(2 * time.Second)
		if w := ask(startup, http.MethodGet, ""); w.Code != 200 || w.Body.String() != "ok\n" {
			t.Errorf("%d %q when it has passed, want 200", w.Code, w.Body)
		}
		warm = false
		time.Sleep(2 * time.Second)
		if w := ask(startup, http.MethodGet, ""); w.Code != 200 || calls != 2 {
			t.Errorf("%d %q after %d calls, want 200 without asking again", w.Code, w.Body, calls)
		}
		if w := ask(newRegistry(t, nil, Check{Name: "database", Probe: failing}).Startup(), http.MethodGet, ""); w.Code != 200 {
			t.Errorf("%d without startup checks, want 200", w.Code)
		}
	})
}

// Over a real connection.
func TestReadyOverHTTP(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRegistry(t, nil, Check{Name: "a", Probe: failing})
		l := serve(t, r.Ready().ServeHTTP)
		transport := &http.Transport{DialContext: l.DialContext}
		defer transport.CloseIdleConnections()
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://example.com/readyz", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			want := "fail: a\n"
			if method == http.MethodHead {
				want = ""
			}
			if err != nil || resp.StatusCode != 503 || string(body) != want || resp.ContentLength != 8 {
				t.Errorf("%s: %d %q of length %d, %v", method, resp.StatusCode, body, resp.ContentLength, err)
			}
		}
	})
}
