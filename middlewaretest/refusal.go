package middlewaretest

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
)

// refused sends one request to the middleware that refuses, and reports it if it
// is passed on.
func (p *probe) refused(method string) *answer {
	site := p.refuse()
	a := site.exchange(site.request(method, nil))
	if !p.refusalStops() {
		return nil
	}
	return a
}

func refusalStatus(p *probe) {
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
		if a := p.refused(method); a != nil && a.StatusCode < 400 {
			p.report("a 4xx or 5xx for a refused "+method, "status %d", a.StatusCode)
		}
	}
	p.quiet()
}

// mustSayWhen are the statuses of which a client wants to know when to return.
func mustSayWhen(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}

func refusalRetryAfter(p *probe) {
	a := p.refused(http.MethodGet)
	if a == nil {
		return
	}
	values := a.Header.Values("Retry-After")
	if len(values) == 0 && !mustSayWhen(a.StatusCode) {
		return
	}
	const want = "one Retry-After of at least 1 second, in digits"
	if len(values) != 1 {
		p.report(want, "the Retry-After fields %q with status %d", values, a.StatusCode)
		return
	}
	if seconds, err := strconv.ParseUint(values[0], 10, 63); err != nil || seconds < 1 {
		p.report(want, "Retry-After %q with status %d", values[0], a.StatusCode)
	}
}

func refusalProblem(p *probe) {
	a := p.refused(http.MethodGet)
	if a == nil {
		return
	}
	media, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil || media != "application/problem+json" {
		p.report("Content-Type application/problem+json", "Content-Type %q", a.Header.Get("Content-Type"))
		return
	}
	var problem struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Status *int   `json:"status"`
	}
	if err := json.Unmarshal(a.body, &problem); err != nil {
		p.report("a problem details object in the body", "the body %q, error: %v", a.body, err)
		return
	}
	if want := fmt.Sprintf(`a member "status" of %d, as in the status line`, a.StatusCode); problem.Status == nil {
		p.report(want, "the body %q without it", a.body)
	} else if *problem.Status != a.StatusCode {
		p.report(want, "%d in the body", *problem.Status)
	}
}

// refusalHead compares the answer to HEAD with that to GET.
func refusalHead(p *probe) {
	get, head := p.refused(http.MethodGet), p.refused(http.MethodHead)
	if get == nil || head == nil {
		return
	}
	p.expect(head, get.StatusCode, "")
	if got, want := head.Header.Get("Content-Type"), get.Header.Get("Content-Type"); got != want {
		p.report(fmt.Sprintf("Content-Type %q for HEAD as for GET", want), "Content-Type %q", got)
	}
	if get.Header.Get("Retry-After") != "" && head.Header.Get("Retry-After") == "" {
		p.report("Retry-After for HEAD as for GET", "HEAD without Retry-After")
	}
	p.quiet()
}

func refusalContinue(p *probe) {
	a := p.neverAsks(p.refuse())
	if p.refusalStops() && a != nil && a.StatusCode < 400 {
		p.report("a 4xx or 5xx for a refused POST with Expect: 100-continue", "status %d", a.StatusCode)
	}
}
