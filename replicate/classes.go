package replicate

import (
	"maps"
	"sync"
	"sync/atomic"
)

const (
	// maxClasses bounds how many statements are remembered. Programs have a few thousand;
	// those that write values into the text have no end of them.
	maxClasses = 4096
	// maxClassText bounds their length.
	maxClassText = 8 << 10
)

// classes remembers what class the texts of statements have. Known texts take no lock:
// the map that is read never changes, and the one that grows takes its place when it has
// been missed as often as it has entries, as in sync.Map. When it is full, all are
// forgotten. The zero value is ready.
type classes struct {
	known atomic.Pointer[map[string]Class]

	mu     sync.Mutex
	more   map[string]Class // everything in known, and what came later; guarded by mu
	misses int              // guarded by mu
}

// of returns the class of a text, and asks the dialect if it must.
func (c *classes) of(d Dialect, text string) Class {
	if known := c.known.Load(); known != nil {
		if class, ok := (*known)[text]; ok {
			return class
		}
	}
	if len(text) > maxClassText {
		return d.Classify(text)
	}
	c.mu.Lock()
	class, ok := c.more[text]
	if ok {
		if c.misses++; c.misses >= len(c.more) {
			c.promote()
		}
	}
	c.mu.Unlock()
	if !ok {
		class = d.Classify(text)
		c.set(text, class)
	}
	return class
}

// promote lets the map that grows be read without a lock. It is called under mu.
func (c *classes) promote() {
	known := c.more
	c.known.Store(&known)
	c.more, c.misses = nil, 0
}

// set remembers a class, at once if it takes the place of another.
func (c *classes) set(text string, class Class) {
	if len(text) > maxClassText {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.known.Load()
	if c.more == nil {
		c.more = map[string]Class{}
		if known != nil && len(*known) < maxClasses {
			c.more = maps.Clone(*known)
		}
	}
	c.more[text] = class
	replaced := false
	if known != nil {
		_, replaced = (*known)[text]
	}
	if replaced || len(c.more) >= maxClasses {
		c.promote()
	}
}
