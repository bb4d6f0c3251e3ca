package key

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestLenIPv4AgreesWithNetip(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(5, 6))
	const alphabet = "0125679..:a"
	for range 200_000 {
		text := make([]byte, rng.IntN(17))
		for i := range text {
			text[i] = alphabet[rng.IntN(len(alphabet))]
		}
		s := string(text)
		n := lenIPv4(s)
		addr, err := netip.ParseAddr(s[:n])
		if n > 0 && (err != nil || !addr.Is4() || addr.String() != s[:n]) {
			t.Fatalf("%q begins with %q, which is no address", s, s[:n])
		}
		if addr, err := netip.ParseAddr(s); err == nil && addr.Is4() && n != len(s) {
			t.Fatalf("%q is an address, got %q", s, s[:n])
		}
	}
}
