package main

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung/internal/testserver"
)

// With -redis the nodes have nothing in common but the server.
func TestFleetOnRedis(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t)
	c, err := parse([]string{"-redis", server.Addr(), "-rungs", "fleet"}, rungs(), &bytes.Buffer{})
	if err != nil || !strings.Contains(c.Rungs[0].Story, "the Redis at "+server.Addr()) {
		t.Fatalf("rungs are %+v, %v; want one that names the server", c, err)
	}
	f, err := newFleet(true, server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 5 * fleetLimit {
		f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/", nil))
	}
	if n, most := f.admitted.Load(), fleetLimit*(1+time.Since(start).Seconds())+1; n < fleetLimit || float64(n) > most {
		t.Errorf("%d requests were admitted in %v, want %d to %.0f", n, time.Since(start), fleetLimit, most)
	}
}
