package ratelimit

import "time"

// quota is what each key is granted: events per period, all of them at once if
// it has been idle.
type quota struct {
	events int64
	period time.Duration
}

var (
	// plenty is never used up: a key could have 2.8e8 events per second for ever.
	// The period is an hour because the windows of some peers begin anew with each
	// period; sethvargo then grants period/events in nanoseconds as if it were a
	// number of events, which denies everything after the first second of 1e9 per
	// second.
	plenty = quota{1e12, time.Hour}
	// one is used up by the first event, for a day.
	one = quota{1, 24 * time.Hour}
)

// limiter is an implementation as the cases use it. All are called through the
// same kind of func value.
type limiter struct {
	allow func(key string) bool
	close func()
}

// Close ends what the implementation runs in the background.
func (l limiter) Close() {
	if l.close != nil {
		l.close()
	}
}

// maker makes a limiter for the given number of keys.
type maker func(q quota, keys int) (limiter, error)

// defaultCapacity is what those who want to know a number of keys are told for
// cases with few of them. It is ours and the one in throttled's documentation.
const defaultCapacity = 65_536

// makers are the implementations in the order of the tables' ties.
var makers = []struct {
	name string
	make maker
}{
	{"uprung", newUprung},
	{"mutexmap-xtime", newMutexMap},
	{"golang-lru-xtime", newGolangLRU},
	{"xsync-xtime", newXsync},
	{"sethvargo", newSethvargo},
	{"throttled", newThrottled},
	{"throttled-unbounded", newThrottledUnbounded},
	{"ulule", newUlule},
	{"httprate", newHTTPRate},
	{"tollbooth", newTollbooth},
}
