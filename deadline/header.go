package deadline

import (
	"strconv"
	"time"
)

// DefaultHeader is the field by which the remaining time is passed on by default.
const DefaultHeader = "Uprung-Timeout-Ms"

// maxDigits bounds the number in the field, as the Connect protocol does: ten digits
// of milliseconds are 115 days.
const maxDigits = 10

// maxMillis is the largest number of that many digits.
const maxMillis = 9_999_999_999

// parse reads the values of the field: one number of milliseconds in one to ten
// digits. Zero says that there is no time left. It returns false for anything else.
func parse(values []string) (time.Duration, bool) {
	if len(values) != 1 || len(values[0]) == 0 || len(values[0]) > maxDigits {
		return 0, false
	}
	millis := int64(0)
	for i := range len(values[0]) {
		digit := values[0][i] - '0'
		if digit > 9 {
			return 0, false
		}
		millis = millis*10 + int64(digit)
	}
	return time.Duration(millis) * time.Millisecond, true
}

// format writes a time that is not negative in whole milliseconds, rounded down: a
// callee may have less, and never more.
func format(d time.Duration) string {
	return strconv.FormatInt(min(d.Milliseconds(), maxMillis), 10)
}

// token reports whether s is a field name (RFC 9110, section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c >= '0' && c <= '9':
		case c == '!', c >= '#' && c <= '\'', c == '*', c == '+', c == '-', c == '.', c >= '^' && c <= '`', c == '|', c == '~':
		default:
			return false
		}
	}
	return s != ""
}
