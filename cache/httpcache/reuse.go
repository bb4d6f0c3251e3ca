package httpcache

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// action is what is done with a request.
type action uint8

const (
	forward   action = iota // to the origin, for a response that may be stored
	complete                // to the origin, for the rest of one of which a part is stored
	validate                // to the origin, with conditions
	reuse                   // answered from the cache
	reuseOnce               // answered stale, and validated in the background
	unmet                   // only-if-cached, and it is not: 504
)

// verdict is a decision about a request.
type verdict struct {
	action     action
	fwd        string   // why it goes to the origin (RFC 9211, section 2.2)
	entry      *Entry   // what is used or validated; may be nil
	candidates []*Entry // all that a 304 may be about

	part    *Entry    // that is to be completed
	missing byteRange // of it
}

// wants are the directives of a request, as far as they count.
type wants struct {
	directives
	trusted bool
}

// wantsOf reads what a request says of caches. Without a field nothing is read.
func (r *rules) wantsOf(req *http.Request, trusted bool) (w wants) {
	w.trusted = trusted
	if lines := req.Header["Cache-Control"]; len(lines) > 0 {
		w.directives = parseDirectives(lines)
	} else if pragma := req.Header["Pragma"]; len(pragma) > 0 {
		// It counts only without Cache-Control (RFC 9111, section 5.4).
		for one := range elements(pragma) {
			if one == "no-cache" || len(one) == 8 && parseDirectives([]string{one}).noCache {
				w.noCache = true
			}
		}
	}
	if !trusted {
		w.noCache, w.maxAge, w.minFresh, w.maxStale = false, delta{}, delta{}, delta{}
	}
	return w
}

// judge decides about a GET or HEAD, of what is stored under its key (RFC 9111, section
// 4).
func (r *rules) judge(req *http.Request, w *wants, found []*Entry, division string, now time.Time) verdict {
	var v verdict
	var part *Entry
	if len(req.Header["If-Match"]) > 0 || len(req.Header["If-Unmodified-Since"]) > 0 {
		// They are about the state of the origin (RFC 9111, section 4.3.2).
		if v.fwd = "bypass"; w.onlyIfCached {
			v.action = unmet
		}
		return v
	}
	others := false
	for _, e := range found {
		if e.valid() == hardPurged {
			continue
		}
		if e.division != division || !selects(e.chosen, req.Header) {
			others = true
			continue
		}
		if e.partial {
			if part == nil || e.date.After(part.date) {
				part = e
			}
			continue
		}
		if v.entry == nil || preferred(e, v.entry) {
			v.entry = e
		}
	}
	switch {
	case v.entry != nil:
	case part != nil && part.covers(req, now):
		v.entry = part
	case part != nil:
		v.fwd = "partial"
		if missing, ok := part.missing(req); ok && !w.noStore {
			v.action, v.part, v.missing = complete, part, missing
		}
	case others:
		v.fwd = "vary-miss"
	default:
		v.fwd = "uri-miss"
	}
	if v.entry == nil {
		if w.onlyIfCached {
			v.action = unmet
		}
		return v
	}
	v.action, v.fwd = r.usable(v.entry, w, now)
	switch {
	case w.onlyIfCached && v.action == validate:
		v.action = unmet
	case v.action == validate:
		v.candidates = r.candidates(found, division, v.entry)
	}
	return v
}

// preferred reports whether one of two responses that match is to be used (RFC 9111,
// sections 4 and 4.1): the later, and rather one that says what it varies on.
func preferred(e, other *Entry) bool {
	if (len(e.chosen) > 0) != (len(other.chosen) > 0) {
		return len(e.chosen) > 0
	}
	return e.date.After(other.date)
}

// usable decides whether a response is used as it is, stale, or after validation.
func (r *rules) usable(e *Entry, w *wants, now time.Time) (action, string) {
	age := e.age(now)
	switch {
	case w.noCache, w.maxAge.valid && age > w.maxAge.duration():
		return validate, "request"
	case e.policy.noCache:
		return validate, "stale"
	}
	left := e.policy.lifetime - age
	if e.stale.Load() || e.valid() == softPurged {
		left = min(left, 0)
	}
	if left > 0 {
		if w.minFresh.valid && left < w.minFresh.duration() {
			return validate, "request"
		}
		return reuse, ""
	}
	if r.staleProhibited(&e.policy) {
		return validate, "stale"
	}
	if w.maxStale.set && (!w.maxStale.valid && w.maxStale.seconds == 0 || -left <= w.maxStale.duration()) {
		return reuse, ""
	}
	if while := e.policy.staleWhileRevalidate; while.valid && -left <= while.duration() && !w.minFresh.set {
		return reuseOnce, ""
	}
	return validate, "stale"
}

// staleOnErrorAllowed reports whether a response may stand in for an origin that failed: one
// that answered with an error, or that could not be reached.
func (r *rules) staleOnErrorAllowed(e *Entry, w *wants, reached bool, now time.Time) bool {
	if e == nil || e.partial || e.valid() == hardPurged || r.staleProhibited(&e.policy) {
		return false
	}
	staleness := -e.remaining(now)
	if staleness <= 0 && !e.stale.Load() {
		return true // it was the request that wanted it validated
	}
	for _, window := range []delta{e.policy.staleIfError, w.staleIfError} {
		if window.valid && staleness <= window.duration() {
			return true
		}
	}
	return r.staleOnError > 0 && staleness <= r.staleOnError && (!r.rfc || !reached)
}

// candidates are the responses of all variants that a validation may choose among.
func (r *rules) candidates(found []*Entry, division string, chosen *Entry) []*Entry {
	all := []*Entry{chosen}
	for _, e := range found {
		if e != chosen && e.division == division && !e.partial && e.valid() != hardPurged && len(e.header["Etag"]) > 0 {
			all = append(all, e)
		}
	}
	return all
}

// condition makes a request conditional (RFC 9111, section 4.3.1). The conditions of the
// client stay, where they can be joined with those of the cache. What the client asked of
// a part is answered from the whole afterwards.
func (v *verdict) condition(out *http.Request) {
	h := out.Header
	if !v.entry.partial {
		delete(h, "Range")
		delete(h, "If-Range")
	}
	var list []string
	for tag := range tags(h["If-None-Match"]) {
		list = append(list, tag.String())
	}
	own := false
	for _, e := range v.candidates {
		if tag, ok := tagOf(e.header); ok {
			own = true
			if !slices.Contains(list, tag.String()) && !slices.Contains(list, "*") {
				list = append(list, tag.String())
			}
		}
	}
	modified := single(v.entry.header, "Last-Modified")
	switch {
	case own:
		delete(h, "If-Modified-Since")
		if len(list) > 0 {
			h["If-None-Match"] = []string{strings.Join(list, ", ")}
		}
		if modified != "" && len(v.candidates) == 1 {
			h["If-Modified-Since"] = []string{modified}
		}
	case modified != "" && len(h["If-None-Match"]) == 0:
		h["If-Modified-Since"] = []string{modified}
	}
}

// unconditional takes out what condition has put in, and what the client said itself.
func unconditional(out *http.Request) {
	for _, name := range []string{"If-None-Match", "If-Modified-Since"} {
		delete(out.Header, name)
	}
}

func (t entityTag) String() string {
	if t.weak {
		return "W/" + t.value
	}
	return t.value
}

// selected returns the candidates that a 304 is about, the one to be used first (RFC
// 9111, section 4.3.4).
func (v *verdict) selected(in *http.Request, h http.Header, now time.Time) []*Entry {
	newest := func(match func(*Entry) bool) []*Entry {
		var best *Entry
		for _, e := range v.candidates {
			if match(e) && (best == nil || e.date.After(best.date)) {
				best = e
			}
		}
		if best == nil {
			return nil
		}
		return []*Entry{best}
	}
	tag, ok := tagOf(h)
	switch {
	case ok && !tag.weak:
		var all []*Entry
		for _, e := range v.candidates {
			if own, _ := tagOf(e.header); strong(own, tag) {
				all = append(all, e)
			}
		}
		return all
	case ok:
		return newest(func(e *Entry) bool { own, _ := tagOf(e.header); return weak(own, tag) })
	}
	if modified, ok := parseDate(single(h, "Last-Modified"), now); ok {
		return newest(func(e *Entry) bool {
			own, ok := parseDate(single(e.header, "Last-Modified"), now)
			return ok && own.Equal(modified)
		})
	}
	if len(v.candidates) == 1 && !conditional(in) {
		// The RFC has a single response that has no validator either. If the conditions were
		// those of one response, and none of the client's, it can be meant as well: what
		// RFC 9110 (section 15.4.5) wants in a 304 does not include a Last-Modified.
		return v.candidates
	}
	return nil
}

// conditional reports whether a request has conditions by which it can be answered 304.
func conditional(r *http.Request) bool {
	return len(r.Header["If-None-Match"]) > 0 || len(r.Header["If-Modified-Since"]) > 0
}

// missing returns what a request for all of a response needs besides a part of it, if that is
// in one piece, and a strong validator tells whether it is of the same (RFC 9111, section
// 3.3).
func (e *Entry) missing(r *http.Request) (byteRange, bool) {
	tag, ok := tagOf(e.header)
	h := r.Header
	if !ok || tag.weak || e.total < 0 || r.Method != http.MethodGet || len(h["Range"]) > 0 || conditional(r) {
		return byteRange{}, false
	}
	switch {
	case e.part.first == 0:
		return byteRange{e.part.last + 1, e.total - 1}, true
	case e.part.last == e.total-1:
		return byteRange{0, e.part.first - 1}, true
	}
	return byteRange{}, false
}

// rest makes a request one for what is missing of a part, or for all of what has become of
// it (RFC 9110, section 13.1.5).
func (v *verdict) rest(out *http.Request) {
	tag, _ := tagOf(v.part.header)
	out.Header["Range"] = []string{fmt.Sprintf("bytes=%d-%d", v.missing.first, v.missing.last)}
	out.Header["If-Range"] = []string{tag.value}
}

// covers reports whether a part of a body has all that a request asks for.
func (e *Entry) covers(r *http.Request, now time.Time) bool {
	_, ok := e.partOf(r, now)
	return ok
}

// partOf returns the part of a partial response that a request asks for, if it lies wholly
// inside (RFC 9111, section 3.3).
func (e *Entry) partOf(r *http.Request, now time.Time) (byteRange, bool) {
	specs, ok := parseRanges(r.Header["Range"])
	if !ok || len(specs) != 1 || r.Method != http.MethodGet || !e.rangeHolds(r, now) {
		return byteRange{}, false
	}
	size := e.total
	if size < 0 {
		if specs[0].first < 0 || specs[0].last < 0 {
			return byteRange{}, false
		}
		size = e.part.last + 1
		if specs[0].last >= size {
			return byteRange{}, false
		}
	}
	parts := satisfied(specs, size)
	if len(parts) != 1 || parts[0].first < e.part.first || parts[0].last > e.part.last {
		return byteRange{}, false
	}
	return parts[0], true
}
