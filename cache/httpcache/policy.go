package httpcache

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// rules are the parts of Options that the engine goes by.
type rules struct {
	rfc           bool // profile RFC9111
	shared        bool
	targetFields  []string
	cookies       CookiePolicy
	heuristicMax  time.Duration // zero means no heuristic
	heuristicPart float64
	staleOnError  time.Duration
	staleSMaxAge  bool
	trustRequest  func(*http.Request) bool // nil: as the face has it
}

// policy is what the header of a response says about keeping and reusing it.
type policy struct {
	directives
	lifetime time.Duration
	explicit bool // the lifetime was said, validly or not
	targeted bool // by a field for this cache
}

// policyOf returns that of a response received at now, with a Date of date.
func (r *rules) policyOf(status int, h http.Header, date, now time.Time) policy {
	var p policy
	if p.directives, p.targeted = targeted(h, r.targetFields); !p.targeted {
		p.directives = parseDirectives(h["Cache-Control"])
	}
	if p.lifetime, p.explicit = r.said(&p.directives); p.explicit {
		return p
	}
	if expires, ok := h["Expires"]; ok && !p.targeted {
		p.explicit = true
		if at, valid := parseDate(expires[0], now); valid && len(expires) == 1 {
			p.lifetime = max(at.Sub(date), 0)
		}
		return p
	}
	if r.heuristicMax > 0 && (slices.Contains(heuristicStatuses, status) || p.public) {
		if modified, ok := parseDate(single(h, "Last-Modified"), now); ok && modified.Before(date) {
			p.lifetime = min(time.Duration(float64(date.Sub(modified))*r.heuristicPart), r.heuristicMax)
		}
	}
	return p
}

// said returns the lifetime that directives give, and whether they do. One that is not
// valid is none (RFC 9111, section 4.2.1).
func (r *rules) said(d *directives) (time.Duration, bool) {
	switch {
	case r.shared && d.sMaxAge.set:
		return d.sMaxAge.duration(), true
	case d.maxAge.set:
		return d.maxAge.duration(), true
	}
	return 0, false
}

// heuristicStatuses are cacheable by default (RFC 9110, section 15.1).
var heuristicStatuses = []int{200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}

// refusal says why a response is not stored, for figures and Cache-Status. Empty means
// that it is.
type refusal string

const (
	stored            refusal = ""
	refusedMethod     refusal = "method"
	refusedStatus     refusal = "status"
	refusedNoStore    refusal = "no-store"
	refusedPrivate    refusal = "private"
	refusedAuth       refusal = "authorization"
	refusedCookie     refusal = "cookie"
	refusedVary       refusal = "vary"
	refusedUnsaid     refusal = "no-freshness"
	refusedSize       refusal = "size"
	refusedIncomplete refusal = "incomplete"
	refusedPurged     refusal = "purged"
	refusedEncoding   refusal = "framing"
)

// forAll reports whether the response to a request with Authorization is for others as well
// (RFC 9111, section 3.5).
func (p *policy) forAll() bool { return p.public || p.sMaxAge.set || p.mustRevalidate }

// storable decides whether the response to a request may be stored (RFC 9111, section 3).
func (r *rules) storable(req *http.Request, asked *directives, status int, h http.Header, p *policy) refusal {
	switch {
	case req.Method == http.MethodPost:
		if !r.rfc || !p.explicit || !r.namesTarget(req, h) || status != http.StatusOK {
			return refusedMethod
		}
	case req.Method != http.MethodGet:
		return refusedMethod
	}
	understood := http.StatusText(status) != ""
	switch {
	case status < 200 || status == http.StatusNotModified:
		return refusedStatus
	case len(h["Transfer-Encoding"]) > 0 || !framed(h["Content-Length"]):
		return refusedEncoding
	case p.mustUnderstand && !understood:
		return refusedStatus
	case p.noStore && !p.mustUnderstand || asked.noStore:
		return refusedNoStore
	case r.shared && p.private:
		return refusedPrivate
	case r.shared && len(req.Header["Authorization"]) > 0 && !p.forAll():
		return refusedAuth
	}
	if !r.rfc && r.shared && len(req.Header["Cookie"]) > 0 && !p.public && !p.sMaxAge.set && !p.targeted {
		return refusedCookie // what is for its bearer alone often does not say so
	}
	if len(h["Set-Cookie"]) > 0 && !r.withoutCookie(p) {
		switch {
		case r.cookies == CookieRefuse, r.cookies == CookieStripOnPublic && !p.public:
			return refusedCookie
		}
	}
	for one := range elements(h["Vary"]) {
		if one == "*" || !r.rfc && http.CanonicalHeaderKey(one) == "Cookie" {
			return refusedVary
		}
	}
	said := p.explicit || p.public || !r.shared && p.private
	switch {
	case !r.rfc && status >= 400 && !p.explicit:
		return refusedStatus
	case !said && !slices.Contains(heuristicStatuses, status):
		return refusedUnsaid
	case !r.rfc && p.lifetime == 0 && !hasValidator(h) && !p.staleWhileRevalidate.valid && !p.staleIfError.valid:
		return refusedUnsaid // it would never be used
	}
	return stored
}

// framed reports whether there is at most one length, which is a number: whoever answers
// otherwise has a reader that takes the end of the body for something else.
func framed(lengths []string) bool {
	if len(lengths) > 1 {
		return false
	}
	for _, said := range lengths {
		if n, err := strconv.ParseInt(said, 10, 64); err != nil || n < 0 {
			return false
		}
	}
	return true
}

// withoutCookie reports whether the origin has cookies left out of what is stored.
func (r *rules) withoutCookie(p *policy) bool {
	return r.shared && slices.Contains(p.privateFields, "Set-Cookie") || slices.Contains(p.noCacheFields, "Set-Cookie")
}

// namesTarget reports whether the Content-Location of the response to a POST is its
// target (RFC 9110, section 9.3.3).
func (r *rules) namesTarget(req *http.Request, h http.Header) bool {
	location := single(h, "Content-Location")
	if location == "" {
		return false
	}
	at, err := req.URL.Parse(location)
	return err == nil && at.EscapedPath() == req.URL.EscapedPath() && at.RawQuery == req.URL.RawQuery &&
		(at.Host == "" || at.Host == req.URL.Host || at.Host == req.Host)
}

// kept returns the header that is stored, without what the policy leaves out.
func (r *rules) kept(h http.Header, p *policy) http.Header {
	k := storedHeader(h)
	if r.shared {
		for _, name := range p.privateFields {
			delete(k, name)
		}
	}
	for _, name := range p.noCacheFields {
		delete(k, name) // it could only be used after validation, which brings it anew
	}
	if r.cookies == CookieStripOnPublic && p.public {
		delete(k, "Set-Cookie")
	}
	return k
}

// staleProhibited reports whether a response is never used stale without validation (RFC
// 9111, section 4.2.4).
func (r *rules) staleProhibited(p *policy) bool {
	return p.noCache || p.mustRevalidate || r.shared && (p.proxyRevalidate || p.sMaxAge.set && !r.staleSMaxAge)
}

func hasValidator(h http.Header) bool { return len(h["Etag"]) > 0 || len(h["Last-Modified"]) > 0 }

// single returns the first value of a field, and nothing if there is none.
func single(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// dateOf returns the Date of a response, or when it was received (RFC 9110, section 6.6.1).
func dateOf(h http.Header, received time.Time) (date time.Time, valid bool) {
	if at, ok := parseDate(single(h, "Date"), received); ok {
		return at, true
	}
	return received, false
}

// ageOf returns the Age of a response: the first member of the first line, if it is a
// number (RFC 9111, section 5.1).
func ageOf(h http.Header) time.Duration {
	for one := range elements(h["Age"][:min(len(h["Age"]), 1)]) {
		if seconds, ok := parseSeconds(one); ok {
			return time.Duration(seconds) * time.Second
		}
		break
	}
	return 0
}
