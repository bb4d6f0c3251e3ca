package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/testserver"
	"github.com/uprung/uprung/ratelimit/redislimit"
)

// servers are two of them, at a Redis.
func servers(t *testing.T, redis string) (all [2]http.Handler) {
	t.Helper()
	for i := range all {
		store, err := redislimit.NewStore(rueidis.ClientOption{InitAddress: []string{redis}}, &redislimit.StoreOptions{Timeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		if all[i], err = newHandler(store, len(all)); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func get(t *testing.T, h http.Handler, path, peer, apiKey string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	r.RemoteAddr = peer + ":1234"
	if apiKey != "" {
		r.Header.Set("X-API-Key", apiKey)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestServersCountTogether(t *testing.T) {
	t.Parallel()
	both := servers(t, testserver.Redis(t).Addr())
	first := get(t, both[0], "/api/hello", "192.0.2.1", "alice")
	second := get(t, both[1], "/api/hello", "192.0.2.2", "alice")
	want := `"per-address";r=9;t=1, "per-day";r=998;t=173, "per-second";r=`
	if got := strings.Join(second.Header()["Ratelimit"], ", "); first.Code != 200 || second.Code != 200 || !strings.HasPrefix(got, want) {
		t.Errorf("%d, %d and RateLimit %s, want 200 twice and %s...", first.Code, second.Code, got, want)
	}
	if w := get(t, both[0], "/api/hello", "192.0.2.3", ""); w.Code != http.StatusBadRequest {
		t.Errorf("without a key the status is %d, want 400", w.Code)
	}
	if w := get(t, both[0], "/limits", "192.0.2.4", ""); !strings.Contains(w.Body.String(), "per-day: {Granted:1 ") {
		t.Errorf("limits are told as %s", w.Body)
	}
	if err := uprung.Vet(both[0]).Err(); err != nil {
		t.Error(err)
	}
}

func TestServersGoOnWithoutRedis(t *testing.T) {
	t.Parallel()
	both := servers(t, "127.0.0.1:1")
	w := get(t, both[0], "/api/hello", "192.0.2.1", "alice")
	if got, want := strings.Join(w.Header()["Ratelimit"], ", "), `"per-address";r=4;t=1, "per-day";r=499;t=173, "per-second";r=9;t=1`; w.Code != 200 || got != want {
		t.Errorf("%d and RateLimit %s, want 200 and %s", w.Code, got, want)
	}
}
