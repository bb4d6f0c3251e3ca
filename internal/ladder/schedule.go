package ladder

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Stream is the traffic of one tenant: requests that arrive independently of one
// another (a Poisson process), for keys of which few are popular and many are not
// (a Zipf distribution).
type Stream struct {
	// Tenant is sent in the header field [TenantField].
	Tenant string
	// PerSecond is the mean number of requests per second. It must be positive.
	PerSecond float64
	// Keys is the number of distinct keys. Zero means 1.
	Keys int
	// Judged says that the promises of the rung are about this tenant's requests.
	Judged bool
}

// arrival is one request of a schedule.
type arrival struct {
	at     time.Duration // since the start of the half
	stream int
	key    uint64 // from 0, the most popular
}

// zipfExponent is how fast the popularity of keys falls with their rank. Web
// traffic has been found between 0.6 and 1.2; the generator takes those above 1.
const zipfExponent = 1.1

// schedule draws the requests of all streams up to length, in order of time. It
// depends on its arguments only, and that of a shorter length is its beginning.
func schedule(streams []Stream, seed uint64, length time.Duration) []arrival {
	var all []arrival
	for i, s := range streams {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		popularity := rand.NewZipf(rng, zipfExponent, 1, uint64(max(s.Keys, 1)-1))
		for at := 0.0; ; {
			at += rng.ExpFloat64() / s.PerSecond
			if at >= length.Seconds() {
				break
			}
			all = append(all, arrival{at: time.Duration(at * float64(time.Second)), stream: i, key: popularity.Uint64()})
		}
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
	return all
}
