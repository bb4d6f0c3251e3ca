package ratelimit

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Headers says by which response fields Middleware tells clients where they
// stand. Retry-After accompanies every refusal that time cures, whatever the
// choice.
type Headers uint8

const (
	// HeadersIETF sends RateLimit-Policy and RateLimit as structured fields
	// (draft-ietf-httpapi-ratelimit-headers-11) with every response that
	// the limit applies to (not in Shadow, and not of a limit that is Unlimited):
	//
	//	RateLimit-Policy: "default";q=100;w=60
	//	RateLimit: "default";r=50;t=30
	//
	// q is the burst and w the time in which it refills, in seconds rounded up; a
	// bucket that refills within a second is told as its events per second. r is
	// what remains and t the time until the whole burst is there again or, in a
	// refusal, until the request may be repeated.
	HeadersIETF Headers = iota
	// HeadersNone sends neither.
	HeadersNone
	// HeadersLegacy sends what many clients read: X-RateLimit-Limit (the burst),
	// X-RateLimit-Remaining and X-RateLimit-Reset (the t of HeadersIETF, in seconds
	// from now). Of several limiters on one request, the one with the least
	// remaining is told.
	HeadersLegacy
)

// String returns "ietf", "none" or "legacy".
func (h Headers) String() string {
	switch h {
	case HeadersIETF:
		return "ietf"
	case HeadersNone:
		return "none"
	case HeadersLegacy:
		return "legacy"
	}
	return "Headers(" + strconv.Itoa(int(h)) + ")"
}

// The fields in the form in which http.Header keys them.
const (
	policyField = "Ratelimit-Policy"
	statusField = "Ratelimit"
	retryField  = "Retry-After"

	legacyLimit     = "X-Ratelimit-Limit"
	legacyRemaining = "X-Ratelimit-Remaining"
	legacyReset     = "X-Ratelimit-Reset"
)

// maxInteger is the largest Integer of a structured field (RFC 9651, section
// 3.3.1).
const maxInteger = 999_999_999_999_999

// quoted returns name as a String of a structured field (RFC 9651, section
// 3.3.3). It is printable ASCII.
func quoted(name string) string {
	buf := make([]byte, 0, len(name)+2)
	buf = append(buf, '"')
	for i := range len(name) {
		if name[i] == '"' || name[i] == '\\' {
			buf = append(buf, '\\')
		}
		buf = append(buf, name[i])
	}
	return string(append(buf, '"'))
}

// policyOf returns the item of RateLimit-Policy for a budget: its quota q in a
// window of w seconds.
func policyOf(quotedName string, b *budget) string {
	q, w := b.burst, int64(1)
	if b.cost != 0 {
		const second = int64(time.Second) * ticksPerNano
		if refill := max(b.capacity, b.window); refill < second {
			q = b.eventsIn(second)
		} else {
			w = wholeSeconds(nanos(refill))
		}
	}
	buf := append(make([]byte, 0, 96), quotedName...)
	buf = append(buf, ";q="...)
	buf = strconv.AppendInt(buf, min(q, maxInteger), 10)
	buf = append(buf, ";w="...)
	return string(strconv.AppendInt(buf, w, 10))
}

// statusOf returns the item of RateLimit: what remains, and the seconds after
// which there is more.
func statusOf(quotedName string, remaining int64, after time.Duration) string {
	buf := append(make([]byte, 0, 128), quotedName...)
	buf = append(buf, ";r="...)
	buf = strconv.AppendInt(buf, min(remaining, maxInteger), 10)
	if after > 0 {
		buf = append(buf, ";t="...)
		buf = strconv.AppendInt(buf, wholeSeconds(after), 10)
	}
	return string(buf)
}

// wholeSeconds rounds up, so that who waits so long is not too early.
func wholeSeconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// addFields appends an item to each of the two fields, which are lists and which
// several limiters on one request share. A RateLimit field without a policy is not
// of this draft, and is replaced.
func addFields(h http.Header, policy, status string) {
	// One array holds both values. It is not shared between responses, whose headers
	// are their handlers' to modify.
	values := [...]string{policy, status}
	if present := h[policyField]; len(present) > 0 {
		h[policyField] = append(slices.Clip(present), policy)
		h[statusField] = append(slices.Clip(h[statusField]), status)
		return
	}
	h[policyField] = values[0:1:1]
	h[statusField] = values[1:2:2]
}

// writeLegacy sets the X-RateLimit fields, unless those present tell of a limit
// with less remaining.
func writeLegacy(h http.Header, res *Result, after time.Duration) {
	if present, err := strconv.ParseInt(h.Get(legacyRemaining), 10, 64); err == nil && present < res.Remaining {
		return
	}
	h[legacyLimit] = []string{strconv.FormatInt(res.Limit, 10)}
	h[legacyRemaining] = []string{strconv.FormatInt(res.Remaining, 10)}
	h[legacyReset] = []string{strconv.FormatInt(wholeSeconds(after), 10)}
}
