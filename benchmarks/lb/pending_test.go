package lb

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestPending compares with a sorted slice.
func TestPending(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 3))
	var p pending
	var model []time.Duration
	for i := range 20_000 {
		if len(model) > 0 && random.IntN(2*len(model)+3) > len(model) {
			slices.Sort(model)
			if got := p.first(); got != model[0] {
				t.Fatalf("step %d: the first is at %v, want %v", i, got, model[0])
			}
			if got := p.take(); got.at != model[0] || got.token.Start != model[0] {
				t.Fatalf("step %d: take gives %+v, want %v", i, got, model[0])
			}
			model = model[1:]
		} else {
			at := time.Duration(random.IntN(500))
			e := event{at: at}
			e.token.Start = at
			p.add(&e)
			model = append(model, at)
		}
		if p.empty() != (len(model) == 0) {
			t.Fatalf("step %d: empty is %v with %d events", i, p.empty(), len(model))
		}
	}
	if len(p.events) > 500 {
		t.Errorf("%d events are kept, want places to be used again", len(p.events))
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	h := newHistogram(patience)
	if got := h.quantile(0.99); got != 0 {
		t.Errorf("quantile of nothing is %v, want 0", got)
	}
	for i := range 100 {
		h.add(time.Duration(i) * ms)
	}
	for q, want := range map[float64]float64{0.01: 0.005, 0.5: 49.005, 0.99: 98.005, 1: 99.005} {
		if got := h.quantile(q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	h.add(patience)
	if got := h.quantile(1); got != 2000 {
		t.Errorf("the most is %v, want 2000", got)
	}
}
