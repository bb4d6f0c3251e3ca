package health

// A View is what a [Monitor] knows at one moment. It is immutable and safe for
// concurrent use.
type View struct {
	known   map[string]State
	counts  [states]int
	changed chan struct{} // closed when there is a newer view
}

// newView returns a view of targets.
func newView(targets map[string]*target) *View {
	v := &View{known: make(map[string]State, len(targets)), changed: make(chan struct{})}
	for id, t := range targets {
		state := t.tally().state
		v.known[id] = state
		v.counts[state]++
	}
	return v
}

// State returns the state of the target with an ID, and Unknown if there is none.
func (v *View) State(id string) State { return v.known[id] }

// Usable reports whether a target may be used: it is not Unhealthy. It does not
// allocate.
func (v *View) Usable(id string) bool { return v.known[id] != Unhealthy }

// Changed returns a channel that is closed when there is a newer view. Whoever
// waits for it and then calls [Monitor.View] sees the latest one, however many were
// between.
func (v *View) Changed() <-chan struct{} { return v.changed }
