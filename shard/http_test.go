package shard_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/middlewaretest"
	"github.com/uprung/uprung/shard"
)

// says answers with a word.
func says(word string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, word) })
}

// upstreams returns a map of nodes that say their IDs.
func upstreams(t *testing.T, ids ...string) *shard.Map[http.Handler] {
	t.Helper()
	var entries []shard.Entry[http.Handler]
	for _, id := range ids {
		entries = append(entries, shard.Entry[http.Handler]{Node: shard.Node{ID: id}, Value: says(id)})
	}
	return uprung.Must(shard.NewMap(entries, &shard.MapOptions{Name: "carts"}))
}

var byUser = key.Header("User")

// get asks a handler on behalf of a user, who may be nobody.
func get(h http.Handler, user string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if user != "" {
		r.Header.Set("User", user)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestHandlerRoutesByKey(t *testing.T) {
	t.Parallel()
	var entries []shard.Entry[http.Handler]
	for _, id := range []string{"a", "b", "c", "d"} {
		entries = append(entries, shard.Entry[http.Handler]{Node: shard.Node{ID: id}, Value: says(id)})
	}
	m := uprung.Must(shard.NewMap(entries, &shard.MapOptions{Hot: uprung.Must(shard.NewHot(nil))}))
	for _, o := range []*shard.HandlerOptions{nil, {Spread: true}} {
		h := uprung.Must(shard.NewHandler(m, byUser, o))
		seen := make(map[string]bool)
		for i := range 100 {
			user := fmt.Sprintf("user-%d", i)
			home, err := m.Entry(user)
			if err != nil {
				t.Fatal(err)
			}
			got := get(h, user)
			if got.Code != http.StatusOK || got.Body.String() != home.Node.ID {
				t.Errorf("%s: got %d %q, want 200 %q", user, got.Code, got.Body, home.Node.ID)
			}
			seen[got.Body.String()] = true
		}
		if len(seen) != 4 {
			t.Errorf("only %v were asked, want all 4", seen)
		}
		if got, want := h.Stats(), (shard.HandlerStats{Routed: 100}); got != want {
			t.Errorf("stats are %+v, want %+v", got, want)
		}
	}
}

// Under Spread, and only there, what is asked for too often goes to several nodes.
func TestHandlerSpreadsWhatIsHot(t *testing.T) {
	t.Parallel()
	hot := uprung.Must(shard.NewHot(nil))
	var entries []shard.Entry[http.Handler]
	for _, id := range []string{"a", "b", "c", "d"} {
		entries = append(entries, shard.Entry[http.Handler]{Node: shard.Node{ID: id}, Value: says(id)})
	}
	m := uprung.Must(shard.NewMap(entries, &shard.MapOptions{Hot: hot}))
	for range 10_000 {
		hot.Observe(shard.Hash("alice"))
	}
	for spread, want := range map[bool]int{false: 1, true: 2} {
		h := uprung.Must(shard.NewHandler(m, byUser, &shard.HandlerOptions{Spread: spread}))
		seen := make(map[string]bool)
		for range 100 {
			seen[get(h, "alice").Body.String()] = true
		}
		if len(seen) != want {
			t.Errorf("Spread %t: %v answered, want %d of them", spread, seen, want)
		}
	}
}

func TestHandlerRefuses(t *testing.T) {
	t.Parallel()
	empty := upstreams(t)
	missing := uprung.Must(shard.NewMap([]shard.Entry[http.Handler]{{Node: shard.Node{ID: "a"}}}, nil))
	for _, tt := range []struct {
		name       string
		m          *shard.Map[http.Handler]
		o          shard.HandlerOptions
		user       string
		status     int
		retryAfter string
		want       shard.HandlerStats
	}{
		{"no nodes", empty, shard.HandlerOptions{}, "alice", 503, "1", shard.HandlerStats{NoNodes: 1}},
		{"no nodes for long", empty, shard.HandlerOptions{RetryAfter: 61 * time.Second}, "alice", 503, "61", shard.HandlerStats{NoNodes: 1}},
		{"nil upstream", missing, shard.HandlerOptions{}, "alice", 503, "1", shard.HandlerStats{NoNodes: 1}},
		{"no key", upstreams(t, "a"), shard.HandlerOptions{}, "", 400, "", shard.HandlerStats{Keyless: 1}},
	} {
		h := uprung.Must(shard.NewHandler(tt.m, byUser, &tt.o))
		w := get(h, tt.user)
		if w.Code != tt.status || w.Header().Get("Retry-After") != tt.retryAfter {
			t.Errorf("%s: got %d, Retry-After %q, want %d, %q", tt.name, w.Code, w.Header().Get("Retry-After"), tt.status, tt.retryAfter)
		}
		var problem struct{ Status int }
		if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Status != tt.status || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: body is %q, %v, want a problem", tt.name, w.Body, err)
		}
		if got := h.Stats(); got != tt.want {
			t.Errorf("%s: stats are %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestHandlerMissingKeyAndSkip(t *testing.T) {
	t.Parallel()
	m := upstreams(t, "a", "b", "c")
	shared, err := m.Entry("")
	if err != nil {
		t.Fatal(err)
	}
	fallback := says("fallback")
	skip := func(r *http.Request) bool { return r.Header.Get("User") == "health" }
	for _, tt := range []struct {
		name, user, want string
		o                shard.HandlerOptions
	}{
		{"admitted", "", "fallback", shard.HandlerOptions{MissingKey: key.MissingAdmitted, Fallback: fallback}},
		{"shared", "", shared.Node.ID, shard.HandlerOptions{MissingKey: key.MissingShared}},
		{"skipped", "health", "fallback", shard.HandlerOptions{Skip: skip, Fallback: fallback}},
	} {
		h := uprung.Must(shard.NewHandler(m, byUser, &tt.o))
		if got := get(h, tt.user).Body.String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestHandlerRefused(t *testing.T) {
	t.Parallel()
	m := upstreams(t, "a")
	var got error
	var h *shard.Handler
	h = uprung.Must(shard.NewHandler(m, byUser, &shard.HandlerOptions{
		Refused: func(w http.ResponseWriter, r *http.Request, err error) {
			got = err
			h.Refuse(w, r, err)
		},
	}))
	if w := get(h, ""); !errors.Is(got, shard.ErrMissingKey) || w.Code != http.StatusBadRequest {
		t.Errorf("without a key: %v, %d, want %v, 400", got, w.Code, shard.ErrMissingKey)
	}
	if err := m.Set(nil); err != nil {
		t.Fatal(err)
	}
	w := get(h, "alice")
	rejection, ok := errors.AsType[*uprung.Rejection](got)
	if admin := uprung.Must(shard.NewHandler(m, byUser, &shard.HandlerOptions{Name: "admin"})).Layer(); admin.Name != "admin" {
		t.Errorf("the layer is %q, want admin", admin.Name)
	}
	if !ok || !errors.Is(got, shard.ErrNoNodes) || rejection.Kind != "shard" || rejection.Name != "carts" || rejection.RetryAfter != time.Second {
		t.Errorf("without nodes: %#v, want a rejection for %v", got, shard.ErrNoNodes)
	}
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("without nodes: %d, want 503", w.Code)
	}
	w = httptest.NewRecorder()
	h.Refuse(w, httptest.NewRequest(http.MethodGet, "/", nil), errors.New("something else"))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("another error: %d, want 500", w.Code)
	}
}

func TestNewHandlerNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := shard.NewHandler(nil, nil, &shard.HandlerOptions{MissingKey: 9, RetryAfter: -1, Skip: func(*http.Request) bool { return false }})
	for _, want := range []string{"upstreams is nil", "by is nil", "HandlerOptions.MissingKey", "HandlerOptions.RetryAfter is -1ns", "HandlerOptions.Fallback is nil"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
	if _, err := shard.NewHandler(upstreams(t), byUser, &shard.HandlerOptions{Spread: true, Name: "\n"}); err == nil || err.Error() !=
		`shard: HandlerOptions.Name is "\n", want 1 to 64 printable ASCII characters
shard: HandlerOptions.Spread is true, want upstreams with MapOptions.Hot: without it nothing is spread` {
		t.Errorf("error is %v, want one about the Name and a Spread that does nothing", err)
	}
	if _, err := shard.NewHandler(upstreams(t), byUser, &shard.HandlerOptions{Fallback: says("")}); err == nil || !strings.Contains(err.Error(), "Fallback is set") {
		t.Errorf("error is %v, want one about a Fallback that nothing reaches", err)
	}
}

func TestHandlerIsDescribed(t *testing.T) {
	t.Parallel()
	h := uprung.Must(shard.NewHandler(upstreams(t, "a", "b"), byUser, &shard.HandlerOptions{RetryAfter: time.Minute}))
	layers := uprung.Layers(uprung.Chain(func(next http.Handler) http.Handler { return next })(h))
	if len(layers) != 1 || layers[0].Kind != "shard" || layers[0].Name != "carts" {
		t.Fatalf("layers are %v, want one", layers)
	}
	want := `shard "carts"
    Nodes       2
    MissingKey  refused (default)
    Spread      false (default)
    RetryAfter  1m0s
    Skip        none (default)
    Fallback    none (default)
    Refused     problem document (default)
ends at shard "carts": one handler for each node
`
	if got := uprung.Explain(h); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestHandlerMetrics(t *testing.T) {
	t.Parallel()
	m := upstreams(t, "a")
	h := uprung.Must(shard.NewHandler(m, byUser, nil))
	admin := uprung.Must(shard.NewHandler(m, byUser, &shard.HandlerOptions{Name: "admin"}))
	get(h, "alice")
	get(h, "bob")
	get(h, "")
	get(admin, "root")
	got := make(map[[2]string]float64)
	for _, h := range []*shard.Handler{h, admin} {
		for m := range h.Metrics {
			labels := m.Labels
			if m.Name != "uprung_shard_requests_total" || m.Type != uprung.Counter || len(labels) != 3 ||
				labels[0] != (uprung.Label{Name: "map", Value: "carts"}) || labels[1].Name != "handler" || labels[2].Name != "outcome" {
				t.Errorf("metric %+v", m)
				continue
			}
			got[[2]string{labels[1].Value, labels[2].Value}] += m.Value
		}
	}
	want := map[[2]string]float64{
		{"carts", "routed"}: 2, {"carts", "fallback"}: 0, {"carts", "no_nodes"}: 0, {"carts", "missing_key"}: 1,
		{"admin", "routed"}: 1, {"admin", "fallback"}: 0, {"admin", "no_nodes"}: 0, {"admin", "missing_key"}: 0,
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for range h.Metrics {
		break // and no more is yielded
	}
}

// Every upstream is what the kit puts behind the handler.
func TestHandlerKeepsThePromisesOfHTTP(t *testing.T) {
	t.Parallel()
	routing := func(ids []string, o *shard.HandlerOptions) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			var entries []shard.Entry[http.Handler]
			for _, id := range ids {
				entries = append(entries, shard.Entry[http.Handler]{Node: shard.Node{ID: id}, Value: next})
			}
			m := uprung.Must(shard.NewMap(entries, &shard.MapOptions{Hot: uprung.Must(shard.NewHot(nil))}))
			return uprung.Must(shard.NewHandler(m, key.Direct(nil), o))
		}
	}
	for name, o := range map[string]*shard.HandlerOptions{"home": nil, "spread": {Spread: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			middlewaretest.Run(t, routing([]string{"a", "b", "c"}, o), &middlewaretest.Options{Refusing: routing(nil, o)})
		})
	}
}

func TestHandlerDoesNotAllocate(t *testing.T) {
	m := uprung.Must(shard.NewMap([]shard.Entry[http.Handler]{
		{Node: shard.Node{ID: "a"}, Value: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
	}, nil))
	h := uprung.Must(shard.NewHandler(m, func(*http.Request) (string, bool) { return "alice", true }, nil))
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
	if got := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}
