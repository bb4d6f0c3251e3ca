package rediscache

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung/cache"
)

// What is stored for a key begins with a byte that says what it is. A value that expires
// has the instant of that next, by the clock of the server, in milliseconds since 1970 as 16
// decimal digits: who reads it need not ask for its TTL as well.
const (
	leaseMark   = 'L' // a token follows
	foreverMark = 'V' // the value follows
	expiryMark  = 'T' // the instant follows, and then the value
)

const digits = 16

// parse returns what is stored if it is a value, and when it expires, 0 for never.
func parse(stored []byte) (value []byte, expiry int64) {
	if len(stored) < 2 {
		return nil, 0
	}
	switch stored[0] {
	case foreverMark:
		return stored[1:], 0
	case expiryMark:
		if len(stored) > 1+digits {
			if at, err := strconv.ParseInt(rueidis.BinaryString(stored[1:1+digits]), 10, 64); err == nil && at > 0 {
				return stored[1+digits:], at
			}
		}
	}
	return nil, 0
}

// exactly returns an item if left is what the server answers to PTTL.
func exactly(stored []byte, left int64) cache.Item {
	const gone, forever = -2, -1
	value, _ := parse(stored)
	if value == nil || left == gone {
		return cache.Item{}
	}
	i := cache.Item{Value: value}
	if left != forever {
		i.TTL = max(time.Duration(left)*time.Millisecond, time.Millisecond)
	}
	return i
}

// millis returns a TTL as an argument, rounded up, since none is zero, which means for ever.
func millis(ttl time.Duration) string {
	if ttl == 0 {
		return "0"
	}
	return strconv.FormatInt(max(int64((ttl+time.Millisecond-1)/time.Millisecond), 1), 10)
}

// clock is what is known of the clock of a server. It is set by a value that expires and
// its TTL, of which the sum is the time of the server when it answered.
type clock struct {
	base  time.Time // of the time here
	ahead atomic.Int64
	setAt atomic.Int64
	dueAt atomic.Int64
}

// A clock is asked for once in a second while it is needed, and good for a second more: that
// of the server may be set anew.
const (
	clockPeriod = time.Second
	clockLife   = 2 * time.Second
)

// here is the time here.
func (c *clock) here() int64 { return int64(time.Since(c.base)) }

// due reports whether the caller is to ask for the TTL of what it reads.
func (c *clock) due(here int64) bool {
	at := c.dueAt.Load()
	return here >= at && c.dueAt.CompareAndSwap(at, here+int64(clockPeriod))
}

// set is told that something expires at an instant, in so many milliseconds from when the
// server was asked, which was not before here.
func (c *clock) set(here, expiry, left int64) {
	c.ahead.Store((expiry-left)*int64(time.Millisecond) - here)
	c.setAt.Store(here)
}

// forget is called when the server may be another from now on.
func (c *clock) forget() {
	c.setAt.Store(-int64(clockLife))
	c.dueAt.Store(0)
}

// item returns what is stored, and false if the clock cannot tell its TTL. No TTL is too
// long.
func (c *clock) item(stored []byte, here int64) (i cache.Item, ok bool) {
	value, expiry := parse(stored)
	if expiry == 0 {
		return cache.Item{Value: value}, true
	}
	if here-c.setAt.Load() >= int64(clockLife) {
		return i, false
	}
	left := time.Duration(expiry*int64(time.Millisecond) - (here + c.ahead.Load()))
	return cache.Item{Value: value, TTL: max(left, time.Millisecond)}, true
}
