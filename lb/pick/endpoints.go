package pick

import (
	"errors"
	"fmt"
)

// maxSlots bounds how often endpoints can be repeated, all together, for the sake
// of their weights. It is more where there are more endpoints.
const maxSlots = 4096

// pool holds what the pickers of a policy know: a cell for each endpoint, which
// passes to the next picker. It is immutable.
type pool[C any] struct {
	cells []*C
	byID  map[string]*C
	// up are the indices of the endpoints that are not down, as often as their
	// weights say: once, where all have the same.
	up []int32
}

// newPool checks endpoints and takes the cells of those that prev knows.
func newPool[C any](endpoints []Endpoint, prev *pool[C]) (pool[C], error) {
	p := pool[C]{cells: make([]*C, len(endpoints)), byID: make(map[string]*C, len(endpoints))}
	var errs []error
	for i, e := range endpoints {
		if e.ID == "" {
			errs = append(errs, fmt.Errorf("pick: endpoints[%d].ID is empty, want a name", i))
			continue
		}
		if p.byID[e.ID] != nil {
			errs = append(errs, fmt.Errorf("pick: endpoints[%d].ID is %q, want one that no other endpoint has", i, e.ID))
			continue
		}
		if e.Weight < 0 || e.Weight > MaxWeight {
			errs = append(errs, fmt.Errorf("pick: endpoints[%d].Weight is %d, want 0 to %d", i, e.Weight, MaxWeight))
		}
		var cell *C
		if prev != nil && !e.Fresh {
			cell = prev.byID[e.ID]
		}
		if cell == nil {
			cell = new(C)
		}
		p.cells[i], p.byID[e.ID] = cell, cell
	}
	if err := errors.Join(errs...); err != nil {
		return pool[C]{}, err
	}
	p.up = slots(endpoints)
	return p, nil
}

// slots returns the indices of the endpoints that are not down, each as often as
// its weight says in proportion to the others.
func slots(endpoints []Endpoint) []int32 {
	var up []int32
	var weights []int
	divisor, sum := 0, 0
	for i, e := range endpoints {
		if !e.Down {
			w := max(e.Weight, 1)
			up, weights = append(up, int32(i)), append(weights, w)
			divisor, sum = gcd(w, divisor), sum+w
		}
	}
	if divisor == 0 {
		return nil
	}
	most := max(maxSlots, 4*len(up))
	if sum /= divisor; sum == len(up) {
		return up
	}
	var all []int32
	for i, w := range weights {
		w /= divisor
		if sum > most {
			w = max(1, w*most/sum)
		}
		for range w {
			all = append(all, up[i])
		}
	}
	return all
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
