package httpcache

import (
	"strings"
	"time"
)

// parseDate reads a date of HTTP (RFC 9110, section 5.6.7): IMF-fixdate, or one of the two
// obsolete forms. It is strict where [http.ParseTime] is not: a date that is not one is
// treated as expired, and must not be taken for another by chance. Names are compared
// without regard to case, the zone is GMT, and there is nothing before or after.
//
// Of the two digits of a year in the form of RFC 850, a year that seems to be more than 50
// years in the future is one of the past.
func parseDate(s string, now time.Time) (time.Time, bool) {
	if len(s) == len("Sun Nov  6 08:49:37 1994") && s[3] == ' ' {
		return parseASCTime(s)
	}
	name, rest, ok := strings.Cut(s, ", ")
	if !ok {
		return time.Time{}, false
	}
	d := fields{s: rest}
	var f dateParts
	if len(name) == 3 {
		f.weekday = d.index(name, "sunmontuewedthufrisat")
		f.day = d.digits(2)
		d.literal(" ")
		f.month = d.name("janfebmaraprmayjunjulaugsepoctnovdec") + 1
		d.literal(" ")
		f.year = d.digits(4)
	} else {
		f.weekday = longWeekday(name)
		f.day = d.digits(2)
		d.literal("-")
		f.month = d.name("janfebmaraprmayjunjulaugsepoctnovdec") + 1
		d.literal("-")
		f.year = d.digits(2)
		if century := now.UTC().Year() / 100 * 100; f.year >= 0 {
			if f.year += century; f.year > now.UTC().Year()+50 {
				f.year -= 100
			}
		}
	}
	d.literal(" ")
	f.clock(&d)
	d.literal(" GMT")
	return f.time(&d)
}

// parseASCTime reads the form of C's asctime, whose day is padded with a space.
func parseASCTime(s string) (time.Time, bool) {
	d := fields{s: s}
	var f dateParts
	f.weekday = d.name("sunmontuewedthufrisat")
	d.literal(" ")
	f.month = d.name("janfebmaraprmayjunjulaugsepoctnovdec") + 1
	d.literal(" ")
	if strings.HasPrefix(d.s, " ") {
		d.literal(" ")
		f.day = d.digits(1)
	} else {
		f.day = d.digits(2)
	}
	d.literal(" ")
	f.clock(&d)
	d.literal(" ")
	f.year = d.digits(4)
	return f.time(&d)
}

// dateParts are the parts of a date as they were read, -1 where they could not be.
type dateParts struct {
	weekday, day, month, year int
	hour, minute, second      int
}

func (f *dateParts) clock(d *fields) {
	f.hour = d.digits(2)
	d.literal(":")
	f.minute = d.digits(2)
	d.literal(":")
	f.second = d.digits(2)
}

// time checks ranges and returns the date. A weekday that does not fit the date is no
// error: the date says more.
func (f *dateParts) time(d *fields) (time.Time, bool) {
	if d.bad || d.s != "" || f.weekday < 0 || f.month < 1 || f.day < 1 || f.hour > 23 || f.minute > 59 || f.second > 60 {
		return time.Time{}, false
	}
	t := time.Date(f.year, time.Month(f.month), f.day, f.hour, f.minute, min(f.second, 59), 0, time.UTC)
	if t.Day() != f.day {
		return time.Time{}, false // such as the 31st of a shorter month
	}
	return t, true
}

func longWeekday(name string) int {
	for at, day := range [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"} {
		if strings.EqualFold(name, day) {
			return at
		}
	}
	return -1
}

// fields reads parts of fixed widths.
type fields struct {
	s   string
	bad bool
}

func (d *fields) take(n int) string {
	if len(d.s) < n {
		d.bad, n = true, len(d.s)
	}
	part := d.s[:n]
	d.s = d.s[n:]
	return part
}

func (d *fields) literal(want string) {
	if !strings.EqualFold(d.take(len(want)), want) {
		d.bad = true
	}
}

func (d *fields) digits(n int) int {
	value := 0
	for _, c := range []byte(d.take(n)) {
		if c < '0' || c > '9' {
			d.bad = true
		}
		value = value*10 + int(c-'0')
	}
	return value
}

// name reads a name of three letters and returns its place in a list of them.
func (d *fields) name(list string) int { return d.index(d.take(3), list) }

func (d *fields) index(name, list string) int {
	for at := 0; at < len(list); at += 3 {
		if strings.EqualFold(name, list[at:at+3]) {
			return at / 3
		}
	}
	d.bad = true
	return -1
}
