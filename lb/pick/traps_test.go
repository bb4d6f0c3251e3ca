package pick

import (
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/splitmix"
)

// One endpoint is picked, there being nothing to draw, and no weight is the weight 1.
func TestTrap22OneEndpointAndNoWeight(t *testing.T) {
	t.Parallel()
	for name, policy := range policies {
		one := mustPicker(t, policy, numbered(1), nil)
		for i := range uint64(100) {
			token, ok := one.Pick(Request{Now: time.Second, Random: splitmix.Mix(i), Hash: splitmix.Mix(i)})
			if !ok || token.Endpoint != 0 {
				t.Fatalf("%s: picked %v, %v of one endpoint", name, token, ok)
			}
			one.Done(token, time.Second, uprung.Success)
		}
		weightless := mustPicker(t, policy, []Endpoint{{ID: "a"}, {ID: "b", Weight: 1}, {ID: "c"}}, nil)
		counts := [3]int{}
		for i := range uint64(3000) {
			now := time.Duration(i) * time.Millisecond
			token, _ := weightless.Pick(Request{Now: now, Random: splitmix.Mix(i), Hash: splitmix.Mix(i)})
			counts[token.Endpoint]++
			weightless.Done(token, now+time.Millisecond, uprung.Success)
		}
		for i, n := range counts {
			if n < 800 || n > 1200 {
				t.Errorf("%s: endpoint %d got %d of 3000, want about 1000", name, i, n)
			}
		}
	}
}
