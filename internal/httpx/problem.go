package httpx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Problem is a refusal in the form of RFC 9457, encoded once and written often.
// It is made by [NewProblem], immutable, and safe for concurrent use.
type Problem struct {
	status int
	body   []byte
	length string
}

// ProblemOptions are the optional members of a [Problem].
type ProblemOptions struct {
	// Type is a URI reference that identifies the kind of problem. Empty means
	// about:blank: the problem is no more than its status code.
	Type string
	// Title is a short summary of the kind of problem, the same each time. Empty
	// means the text of the status code.
	Title string
	// Detail explains this problem to the one who caused it. Empty means none.
	Detail string
	// Extensions are further members, of any type that encodes as JSON. Their
	// names have at least three characters, a letter and then letters, digits,
	// underscores (RFC 9457, section 3.2) and, as registered members do, hyphens.
	Extensions map[string]any
}

// NewProblem encodes a problem with a status from 400 to 599. Nil options mean
// the defaults. The error names every member that is not valid.
func NewProblem(status int, opts *ProblemOptions) (*Problem, error) {
	if opts == nil {
		opts = &ProblemOptions{}
	}
	var errs []error
	if status < 400 || status > 599 {
		errs = append(errs, fmt.Errorf("httpx: status is %d, want 400 to 599", status))
	}
	if _, err := url.Parse(opts.Type); err != nil {
		errs = append(errs, fmt.Errorf("httpx: Type is %q, want a URI reference", opts.Type))
	}
	for _, name := range slices.Sorted(maps.Keys(opts.Extensions)) {
		if !validExtension(name) {
			errs = append(errs, fmt.Errorf("httpx: Extensions has %q, want three or more letters, digits, underscores and hyphens that are no standard member", name))
		}
	}
	members := struct {
		Type   string `json:"type,omitempty"`
		Title  string `json:"title,omitempty"`
		Status int    `json:"status"`
		Detail string `json:"detail,omitempty"`
	}{opts.Type, opts.Title, status, opts.Detail}
	if members.Title == "" {
		members.Title = http.StatusText(status)
	}
	body, err := json.Marshal(members)
	if err != nil {
		errs = append(errs, fmt.Errorf("httpx: problem does not encode: %w", err))
	}
	if len(opts.Extensions) > 0 {
		extensions, err := json.Marshal(opts.Extensions)
		if err != nil {
			errs = append(errs, fmt.Errorf("httpx: Extensions does not encode: %w", err))
		} else {
			// Both are objects with members: "{a}" and "{b}" become "{a,b}".
			body = slices.Concat(bytes.TrimSuffix(body, []byte("}")), []byte(","), extensions[1:])
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	body = append(body, '\n') // for those who read it in a terminal
	return &Problem{status: status, body: body, length: strconv.Itoa(len(body))}, nil
}

// validExtension reports whether an extension member may be called name.
func validExtension(name string) bool {
	switch name {
	case "type", "title", "status", "detail", "instance":
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || c != '_' && c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(name) >= 3
}

// Write answers r with the problem. A positive retryAfter is sent as Retry-After
// in whole seconds, rounded up and so at least 1; with zero or less there is no
// such header.
//
// Headers that describe some other content are removed (Content-Length,
// Content-Range, ETag, Last-Modified) and the answer is not to be stored. The
// other headers stay, Content-Encoding too, as with [http.Error]: a compressing
// middleware further out may have set it for whatever is written here, and then
// the length is left to that middleware as well. Who refuses after the next
// handler has begun must first restore the header map to what it was.
//
// A HEAD request gets the headers only. Write itself makes one allocation, two
// if retryAfter is 100 seconds or more.
func (p *Problem) Write(w http.ResponseWriter, r *http.Request, retryAfter time.Duration) {
	h := w.Header()
	h.Del("Content-Range")
	h.Del("Etag")
	h.Del("Last-Modified")

	// One array holds the values of all headers. They are not shared between
	// requests, since a header map is its handler's to modify.
	values := [...]string{"application/problem+json", "nosniff", "no-store", p.length, ""}
	set := values[:]
	put := func(name string) {
		h[name] = set[:1:1]
		set = set[1:]
	}
	put("Content-Type")
	put("X-Content-Type-Options")
	put("Cache-Control")
	if _, encoded := h["Content-Encoding"]; encoded {
		h.Del("Content-Length")
		set = set[1:]
	} else {
		put("Content-Length")
	}
	if retryAfter > 0 {
		set[0] = strconv.FormatInt(ceilSeconds(retryAfter), 10)
		put("Retry-After")
	} else {
		h.Del("Retry-After")
	}
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(p.body) // a client that has gone needs no refusal
	}
}

// ceilSeconds returns d in whole seconds, rounded up. It does not overflow.
func ceilSeconds(d time.Duration) int64 {
	seconds := int64(d / time.Second)
	if d%time.Second > 0 {
		seconds++
	}
	return seconds
}
