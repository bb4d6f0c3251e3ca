package pick

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// smoothModel is nginx's smooth weighted round robin as it is written down: all
// endpoints are compared for each turn.
func smoothModel(up []int32) []int32 {
	weights := map[int32]int{}
	for _, endpoint := range up {
		weights[endpoint]++
	}
	gained := map[int32]int{}
	var order []int32
	for range up {
		most := int32(-1)
		for endpoint := range slices.Max(up) + 1 {
			gained[endpoint] += weights[endpoint]
			if weights[endpoint] > 0 && (most < 0 || gained[endpoint] > gained[most]) {
				most = endpoint
			}
		}
		gained[most] -= len(up)
		order = append(order, most)
	}
	return order
}

func TestSmoothAgainstModel(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 300 {
		var up []int32
		endpoint := int32(r.IntN(3))
		for range 1 + r.IntN(12) {
			for range 1 + r.IntN(9) {
				up = append(up, endpoint)
			}
			endpoint += 1 + int32(r.IntN(3)) // those between are down
		}
		if got, want := smooth(slices.Clone(up)), smoothModel(up); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the order of %v is\n%v, want\n%v", seed, up, got, want)
		}
	}
	if got := smooth([]int32{0, 0, 0, 0, 0, 1, 2}); !slices.Equal(got, []int32{0, 0, 1, 0, 2, 0, 0}) {
		t.Errorf("the order of weights 5, 1, 1 is %v, want 0 0 1 0 2 0 0", got)
	}
}

// A large number of endpoints of many weights has its order at once: there is a
// snapshot for each change of any of them.
func TestSmoothIsQuick(t *testing.T) {
	t.Parallel()
	endpoints := make([]Endpoint, 20_000)
	for i := range endpoints {
		endpoints[i] = Endpoint{ID: fmt.Sprint(i), Weight: 1 + i*31%MaxWeight}
	}
	began := time.Now()
	mustPicker(t, RoundRobin{}, endpoints, nil)
	// Comparing all of them for each turn takes seconds.
	if took := time.Since(began); took > time.Second {
		t.Errorf("a picker of 20000 endpoints took %v, want far less than 1s", took)
	}
}
