package lb

import "github.com/uprung/uprung/lb/pick"

// The policies of this library, with default settings.
var (
	ageEWMA    = own(pick.AgeEWMA{})
	roundRobin = own(pick.RoundRobin{})
	powerOfTwo = own(pick.PowerOfTwo{})
)

// own makes a policy of this library take part.
func own(p pick.Policy) policy {
	return func(backends []*backend) (chooser, error) {
		return p.Picker(newEndpoints(len(backends)), nil)
	}
}
