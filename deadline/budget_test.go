package deadline

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

// nobody is a response writer for nobody.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(p []byte) (int, error) { return len(p), nil }
func (n nobody) WriteHeader(int)             {}

// What a request costs beyond its handler or base.
func TestAllocations(t *testing.T) {
	d := mustNew(t, time.Hour, nil)
	r := httptest.NewRequest(http.MethodGet, origin, nil)
	h := d.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	w := nobody{http.Header{}}
	if got := testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r) }); got > 12 {
		t.Errorf("Middleware makes %v allocations, want at most 12", got)
	}
	resp := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	rt := d.Transport(tripper(func(*http.Request) (*http.Response, error) { return resp, nil }))
	if got := testing.AllocsPerRun(200, func() { _, _ = rt.RoundTrip(r) }); got > 10 {
		t.Errorf("Transport makes %v allocations, want at most 10", got)
	}
	if err := d.SetMode(uprung.Off); err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r); _, _ = rt.RoundTrip(r) }); got > 0 {
		t.Errorf("when off, both make %v allocations, want 0", got)
	}
}
