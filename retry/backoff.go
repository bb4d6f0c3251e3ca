package retry

import (
	"net/http"
	"strconv"
	"time"
)

// backoff returns how long to wait before an attempt, the second being 1: a random
// part of a time that doubles with each (full jitter; Brooker: Exponential Backoff and
// Jitter, AWS Architecture Blog, 2015). The random number is in [0, 1).
func backoff(attempt int, base, most time.Duration, random float64) time.Duration {
	wait := most
	if shift := attempt - 1; shift < 62 && base <= most>>shift {
		wait = base << shift
	}
	return time.Duration(random * float64(wait))
}

// retryAfter reads the field of that name (RFC 9110, section 10.2.3): a number of
// seconds, or a date. It returns false for what is neither, and for a date that is
// past no time at all.
func retryAfter(header http.Header, now time.Time) (time.Duration, bool) {
	field := header.Get("Retry-After")
	if field == "" {
		return 0, false
	}
	if digits(field) {
		seconds, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return forever, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	if date, err := http.ParseTime(field); err == nil {
		return max(date.Sub(now), 0), true
	}
	return 0, false
}

// forever is longer than anybody waits.
const forever = 1<<63 - 1

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
