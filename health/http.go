package health

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The media types in which a Registry answers, the default first. What asks for
// plain JSON gets the document of the draft.
const (
	textType   = "text/plain"
	healthType = "application/health+json"
	jsonType   = "application/json"
)

var offers = []string{textType, healthType, jsonType}

// Ready returns a handler that says whether the program should be sent requests: 200
// if all checks pass that are not informative, 503 if one fails or once Drain was
// called. It is for a readiness probe and for balancers.
func (r *Registry) Ready() http.Handler { return r.answer(r.ready) }

// Live returns a handler that says whether the program is alive: 200 as long as it
// can answer and its Live checks pass, also while it drains. It is for a liveness
// probe, whose failure restarts the program.
func (r *Registry) Live() http.Handler { return r.answer(r.live) }

// Startup returns a handler that says whether the program has started: 503 until
// each Startup check has passed once, and 200 from then on. It is for a startup
// probe, which holds the others off.
func (r *Registry) Startup() http.Handler { return r.answer(r.started) }

// answer returns a handler that answers a question.
func (r *Registry) answer(question func(context.Context) verdict) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !readOnly(w, req) {
			return
		}
		v := question(req.Context())
		code := http.StatusOK
		if v.status() == fail {
			code = http.StatusServiceUnavailable
		}
		w.Header().Add("Vary", "Accept")
		switch media := offers[negotiate(req.Header.Values("Accept"), offers)]; media {
		case textType:
			write(w, req, code, textType+"; charset=utf-8", r.text(v))
		default:
			write(w, req, code, media, r.document(v))
		}
	})
}

// readOnly refuses methods other than GET and HEAD.
func readOnly(w http.ResponseWriter, req *http.Request) bool {
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		return true
	}
	w.Header().Set("Allow", "GET, HEAD")
	write(w, req, http.StatusMethodNotAllowed, textType+"; charset=utf-8", []byte("method not allowed\n"))
	return false
}

// write writes a whole answer that nobody is to store.
func write(w http.ResponseWriter, req *http.Request, code int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	if req.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone needs no answer
	}
}

// text returns "ok", or what is wrong, and a line for each check that does not pass.
func (r *Registry) text(v verdict) []byte {
	var b strings.Builder
	switch {
	case v.draining:
		b.WriteString("draining\n")
	case v.status() != fail:
		b.WriteString("ok\n")
	}
	for _, result := range v.results {
		if result.err == nil {
			continue
		}
		b.WriteString(result.status().String() + ": " + result.check.Name)
		if r.o.Verbose {
			b.WriteString(": " + oneLine(result.err.Error()))
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// oneLine returns a text without line breaks and other control characters.
func oneLine(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == '\x7f' {
			return ' '
		}
		return c
	}, text)
}

// document is the response of draft-inadarei-api-health-check-06, section 3.
type document struct {
	Status string                     `json:"status"`
	Output string                     `json:"output,omitempty"`
	Checks map[string][]documentCheck `json:"checks,omitempty"`
}

// documentCheck is an element of checks, section 4.
type documentCheck struct {
	Status string    `json:"status"`
	Time   time.Time `json:"time"`
	Output string    `json:"output,omitempty"`
}

// document returns the document that says the same as text.
func (r *Registry) document(v verdict) []byte {
	d := document{Status: v.status().String()}
	if v.draining {
		d.Output = "draining"
	}
	for _, result := range v.results {
		if d.Checks == nil {
			d.Checks = make(map[string][]documentCheck, len(v.results))
		}
		c := documentCheck{Status: result.status().String(), Time: result.at.UTC().Truncate(time.Millisecond)}
		if result.err != nil && r.o.Verbose {
			c.Output = result.err.Error()
		}
		d.Checks[result.check.Name] = []documentCheck{c}
	}
	body, err := json.Marshal(d)
	if err != nil {
		return []byte(`{"status":"fail"}` + "\n") // strings and times encode, so this is not reached
	}
	return append(body, '\n')
}
