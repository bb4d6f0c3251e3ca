package retry

import (
	"errors"
	"net/http"
	"testing"
)

func newTestCaller(t *testing.T) *caller {
	t.Helper()
	c, err := newCaller(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSucceeding(t *testing.T) {
	t.Parallel()
	for _, one := range succeeding {
		rt, err := one.wrap(healthy{})
		if err != nil {
			t.Fatal(err)
		}
		if met := newTestCaller(t).send(rt, 100); met != 100 {
			t.Errorf("%s: %d of 100 requests have complete answers of 200", one.name, met)
		}
	}
}

// TestRepeating makes sure that nobody is measured who does not repeat, or who waits.
func TestRepeating(t *testing.T) {
	t.Parallel()
	for _, one := range repeating {
		base := &flaky{}
		rt, err := one.wrap(base)
		if err != nil {
			t.Fatal(err)
		}
		const n = 1000
		if met := newTestCaller(t).send(rt, n); met != n || base.sent != 2*n {
			t.Errorf("%s: %d of %d requests succeed with %d attempts, want all with %d", one.name, met, n, base.sent, 2*n)
		}
		// The workload says so.
		if got, want := base.failed.closed, one.name != failsafe; got != want {
			t.Errorf("%s: what failed is closed: %v, want %v", one.name, got, want)
		}
		if got, want := base.failed.left == 0, one.name == "uprung"; got != want {
			t.Errorf("%s: what failed is read: %v, want %v", one.name, got, want)
		}
	}
}

// TestWithoutRepeating makes sure that it shows if nobody repeats.
func TestWithoutRepeating(t *testing.T) {
	t.Parallel()
	if met := newTestCaller(t).send(&flaky{}, 10); met != 5 {
		t.Errorf("%d of 10 requests succeed where every second fails, want 5", met)
	}
	for name, rt := range map[string]broken{"an error": {err: errors.New("no")}, "a short answer": {length: bodyLen - 1}} {
		if met := newTestCaller(t).send(rt, 10); met != 0 {
			t.Errorf("%s: %d of 10 requests succeed, want 0", name, met)
		}
	}
}

// broken fails, or answers too little.
type broken struct {
	err    error
	length int
}

func (b broken) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.err != nil {
		return nil, b.err
	}
	resp, body := respond(r, http.StatusOK)
	body.left = b.length
	return resp, nil
}
