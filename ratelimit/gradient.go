package ratelimit

import "time"

// gradient finds how many requests a server works on best, from the time that they
// take. It is a pure function of what it is told and when.
//
// With few requests in progress each takes a time that does not depend on their
// number: the base. Beyond what the server can work on at once they wait for each
// other, and by Little's law the time grows in proportion to their number. So the
// limit follows limit*tolerance*base/time, which comes to rest where requests take
// tolerance times the base: a little more is in progress than can be worked on, so
// that a worker that is done finds the next at hand, and few wait.
//
// That is the gradient of Netflix' concurrency-limits. Three things are different.
// The base is never learned while requests wait for each other, so that it can not
// drift upwards in a long overload: under light load it is followed, and under a
// load that leaves no light moment the limit is lowered now and then, briefly, to
// look at it. The limit grows only if it is reached, and shrinks only if it is near:
// what is slow at a tenth of the limit is not slow because of the limit. And it is
// judged by windows of enough requests, of which none counts for more than eight
// times the usual, so that neither jitter nor one that hangs brings it down.
type gradient struct {
	bounds InFlight
	limit  float64
	base   float64 // ns; zero until known
	usual  float64 // ns: the smoothed time of the last windows
	rest   float64 // where the limit has been of late
	held   float64 // the limit to return to after a look at the base; zero if there is none
	begun  int64   // of the look
	next   int64   // when to look at the base again, if there is no light moment before
	pause  int64   // between two looks
}

const (
	// tolerance is the time of requests, in bases, at which the limit rests. It is the
	// value that kept most goodput in the simulation of simulation_test.go: less starves
	// workers where times vary widely, more makes those who are served too late many.
	tolerance = 2.5
	// maxGrowth and maxCut bound the change that one window may ask for.
	maxGrowth, maxCut = 1.2, 0.5
	// maxRush is maxGrowth while requests do not wait for each other, as after an outage:
	// they take less than unhindered bases.
	maxRush, unhindered = 1.4, 1.25
	// deep is the share of where it has been of late below which a limit has been cut in
	// vain, if requests are slow still: they do not wait for each other but for
	// something else, and that is the base for as long as it lasts.
	deep = 0.45
	// eagerness is the part of that change which is made.
	eagerness = 0.5
	// homesick is the part of the way to where the limit has been of late that a window
	// makes at least when there is no reason not to: what has cut it is over.
	homesick = 0.3
	// restless is the part by which each window changes where the limit has been of late.
	restless = 0.02
	// windowLeast is the least time of a window, windowSamples the least number of
	// requests in it; a larger limit takes more, up to windowMost.
	windowLeast               = int64(100 * time.Millisecond)
	windowSamples, windowMost = 20, 1000
	// light is the share of the limit up to which requests do not wait for each other.
	light = 0.5
	// lookDepth is what the limit is divided by to look at the base: tolerance, and half
	// as much again in case that the limit is higher than it should be. More would cost
	// more of the server's work for as long as the look takes.
	lookDepth = 1.5 * tolerance
	// tooMany is how many times longer requests take before a look than in it, if even
	// the limit of the look was more than the server works on at once. It lies between
	// tolerance, if it was less, and lookDepth, if it was much more.
	tooMany = 3.5
	// A look is repeated soon if it brings news, and then after twice the time each.
	lookSoon, lookSeldom = int64(2 * time.Second), int64(30 * time.Second)
	// lookLongest ends a look at what does not answer, in usual times of a request, and
	// lookLeast is the least of it.
	lookLongest, lookLeast = 3, int64(time.Second)
	// outlier bounds the time that one request counts for, in usual ones.
	outlier = 8
)

// window is what was seen since the last one.
type window struct {
	now      int64
	lasted   int64
	samples  int64
	mean     float64 // ns, of the samples
	peak     int64   // the most in progress
	refused  bool    // the limit was reached
	overload bool    // who was asked said that it has too much to do
}

func newGradient(bounds InFlight, now int64) gradient {
	return gradient{bounds: bounds, limit: float64(bounds.Initial), rest: float64(bounds.Initial), next: now + lookSoon*3/4, pause: lookSoon}
}

// needs returns the number of samples that make a window.
func (g *gradient) needs() int64 {
	if g.held != 0 {
		return windowSamples
	}
	return min(max(windowSamples, int64(g.limit)), windowMost)
}

// patience returns how long a look at the base may take.
func (g *gradient) patience() int64 { return max(lookLeast, int64(lookLongest*g.usual)) }

// observe takes a window into account.
func (g *gradient) observe(w window) {
	if g.held != 0 {
		g.looked(w)
		return
	}
	if w.refused && g.usual > 0 && w.lasted > outlier*int64(float64(g.needs())*g.usual/g.limit)+lookLeast {
		g.next = max(g.next, w.now+2*lookSoon)
		return // all stood still meanwhile, which is over
	}
	if w.overload {
		g.set(g.limit * 0.9)
		return
	}
	if g.usual == 0 {
		g.usual = w.mean
	}
	g.usual += (w.mean - g.usual) / 2
	switch {
	case g.base == 0:
		g.base = w.mean
	case !w.refused && float64(w.peak) <= g.limit*light:
		// A light moment: the base follows, faster downwards, where there is no doubt
		// that it can be had.
		part := 0.1
		if w.mean < g.base {
			part = 0.2
		}
		g.base += (w.mean - g.base) * part
		g.next = w.now + g.pause
		return
	case w.mean < g.base/tolerance:
		g.base = w.mean * 1.5 // it was learned when all was slow
	}
	if g.limit < g.rest*deep && w.mean > g.base*unhindered {
		g.base += (w.mean - g.base) / 3
		g.next = min(g.next, w.now+lookSoon) // in case that it is the server that can do less
	}
	ratio, most := tolerance*g.base/g.usual, maxGrowth
	switch {
	case !w.refused:
		most = 1
	case g.usual < g.base*unhindered:
		most = maxRush
	}
	next := g.limit + g.limit*(min(max(ratio, maxCut), most)-1)*eagerness
	if w.refused && ratio > maxGrowth {
		next = max(next, g.limit+(g.rest-g.limit)*homesick)
	}
	g.set(next)
	g.rest += (g.limit - g.rest) * restless
	if w.refused && w.now >= g.next {
		g.held, g.begun = g.limit, w.now
		g.set(g.limit / lookDepth)
	}
}

// looked ends a look at the base.
func (g *gradient) looked(w window) {
	limit := g.held
	g.held = 0
	g.pause = min(2*g.pause, lookSeldom)
	if w.samples >= windowSamples/2 {
		was := g.base
		g.base += (w.mean - g.base) / 3 // a look is at few requests
		if change := w.mean / was; change < 0.5 || change > 2 {
			g.base, g.pause = w.mean, lookSoon // more than chance makes of twenty
		}
		if g.usual > w.mean*tooMany {
			// The limit was far too high: by Little's law, the server has worked on as many
			// at a time as it has served in a base.
			limit *= tolerance * w.mean / g.usual
			g.base = min(g.base, (g.base+w.mean)/2)
			g.rest, g.pause = limit, lookSoon
		}
	}
	g.next = w.now + g.pause
	g.set(limit)
}

// set moves the limit within its bounds.
func (g *gradient) set(limit float64) {
	g.limit = min(max(limit, float64(g.bounds.Min)), float64(g.bounds.Max))
}
