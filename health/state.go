package health

import "strconv"

// State is what a [Monitor] knows of a target, or a [Registry] of a check.
type State uint8

const (
	// Unknown is the state before anything was found out. It is usable.
	Unknown State = iota
	// Healthy is the state of what works.
	Healthy
	// Unhealthy is the state of what does not.
	Unhealthy

	states = 3
)

// String returns the lower-case name that metrics and logs use.
func (s State) String() string {
	switch s {
	case Unknown:
		return "unknown"
	case Healthy:
		return "healthy"
	case Unhealthy:
		return "unhealthy"
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
}
