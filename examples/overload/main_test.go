package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Two tenants ask, one of them ten times as often, altogether for four times what the
// server can do, and one sends batches. Nearly all of its work is of use, the small tenant
// has all it asks for, and batches have what is left.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, err := newHandler()
		if err != nil {
			t.Fatal(err)
		}
		const seconds = 20
		var mu sync.Mutex
		served, asked := map[string]int{}, map[string]int{}
		var all sync.WaitGroup
		ask := func(tenant, path string) {
			asked[tenant]++
			all.Go(func() {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
				r.Header.Set("Tenant", tenant)
				w := httptest.NewRecorder()
				start := time.Now()
				handler.ServeHTTP(w, r)
				switch {
				case w.Code == http.StatusOK && time.Since(start) < time.Second:
					mu.Lock()
					served[tenant]++
					mu.Unlock()
				case w.Code != http.StatusServiceUnavailable:
					t.Errorf("%s is answered %d after %v", tenant, w.Code, time.Since(start))
				case w.Header().Get("Retry-After") != "1" || time.Since(start) > 0:
					t.Errorf("%s is refused after %v with Retry-After %q", tenant, time.Since(start), w.Header().Get("Retry-After"))
				}
			})
		}
		for i := range seconds * 150 {
			time.Sleep(time.Second / 150)
			ask("hog", "/")
			if i%15 == 0 {
				ask("ant", "/")
				ask("robot", "/batch")
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/scale", nil))
		if !strings.Contains(w.Body.String(), `"saturation":1`) {
			t.Errorf("/scale says %s, want a saturation of 1", w.Body)
		}
		all.Wait()
		total := 0
		for _, n := range served {
			total += n
		}
		capacity := seconds * workers * int(time.Second/work)
		if total < capacity*9/10 {
			t.Errorf("served %d in time, want nine tenths of the %d that can be: %v", total, capacity, served)
		}
		if served["ant"] < asked["ant"]*9/10 {
			t.Errorf("the ant has %d of %d, want nearly all", served["ant"], asked["ant"])
		}
		if served["robot"] > served["ant"]/2 {
			t.Errorf("batches have %d, want them to give way: %v", served["robot"], served)
		}
	})
}
