package health

// tally is the state machine of one target: its state, and how many results in a
// row speak against it. It knows nothing of time or locks.
type tally struct {
	state State
	run   uint32 // failures unless Unhealthy, else successes; below the threshold
}

// thresholds are the results in a row that change a state.
type thresholds struct {
	rise, fall uint32
}

// probed returns the tally after the result of a probe. From Unknown one success
// is enough, since there is nothing bad to outweigh.
func (t tally) probed(ok bool, at thresholds) tally {
	switch {
	case t.state == Unhealthy && ok:
		if t.run++; t.run >= at.rise {
			return tally{state: Healthy}
		}
		return t
	case t.state == Unhealthy:
		return tally{state: Unhealthy}
	case ok:
		return tally{state: Healthy}
	}
	if t.run++; t.run >= at.fall {
		return tally{state: Unhealthy}
	}
	return t
}

// reported returns the tally after a result that somebody else saw. A failure
// counts as one of a probe does, a success ends a streak of failures. An Unhealthy
// target is the probes' alone: what still arrives from requests sent to it before
// says nothing about now.
func (t tally) reported(ok bool, at thresholds) tally {
	switch {
	case t.state == Unhealthy:
		return t
	case ok:
		return tally{state: t.state}
	}
	return t.probed(false, at)
}

// ignores reports whether a reported result would change nothing.
func (t tally) ignores(ok bool) bool {
	return t.state == Unhealthy || ok && t.run == 0
}

// pack returns the tally as a number that can be kept in an atomic.
func (t tally) pack() uint64 { return uint64(t.state)<<32 | uint64(t.run) }

// unpack returns the tally that pack was called on.
func unpack(n uint64) tally { return tally{state: State(n >> 32), run: uint32(n)} }
