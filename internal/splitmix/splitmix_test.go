package splitmix_test

import (
	"math"
	"testing"

	"github.com/uprung/uprung/internal/splitmix"
)

// The first numbers of splitmix64 from the seed 1234567, as published with its reference
// implementation by Vigna.
func TestSequence(t *testing.T) {
	t.Parallel()
	state := uint64(1234567)
	for at, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821} {
		state += splitmix.Phi
		if got := splitmix.Mix(state); got != want {
			t.Errorf("number %d is %d, want %d", at, got, want)
		}
	}
}

func TestFraction(t *testing.T) {
	t.Parallel()
	for random, want := range map[uint64]float64{0: 0, 1 << 63: 0.5, math.MaxUint64: 1 - 1.0/(1<<53)} {
		if got := splitmix.Fraction(random); got != want {
			t.Errorf("%x is %v, want %v", random, got, want)
		}
	}
}
