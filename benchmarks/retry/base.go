package retry

import (
	"context"
	"io"
	"net/http"
)

// bodyLen is the length of every body.
const bodyLen = 1024

// respond answers a request at once, with a response and a body of their own.
func respond(r *http.Request, status int) (*http.Response, *body) {
	one := &struct {
		response http.Response
		body     body
	}{}
	one.body.left = bodyLen
	one.response = http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: &one.body, ContentLength: bodyLen, Request: r,
	}
	return &one.response, &one.body
}

// body is that of a response.
type body struct {
	left   int
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), b.left)
	clear(p[:n])
	b.left -= n
	return n, nil
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

// healthy answers 200.
type healthy struct{}

func (healthy) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, _ := respond(r, http.StatusOK)
	return resp, nil
}

// flaky answers 503 and 200 in turn. It is for one request at a time.
type flaky struct {
	sent   int
	failed *body // of the last 503
}

func (f *flaky) RoundTrip(r *http.Request) (resp *http.Response, _ error) {
	f.sent++
	if f.sent%2 == 0 {
		resp, _ = respond(r, http.StatusOK)
	} else {
		resp, f.failed = respond(r, http.StatusServiceUnavailable)
	}
	return resp, nil
}

// caller sends one request, again and again, each when it has read the answer to the
// last.
type caller struct {
	request *http.Request
	buffer  []byte
}

// newCaller returns a caller that could give up at any time, as those can that a
// server's requests stand behind, until ctx ends.
func newCaller(ctx context.Context) (*caller, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders.example.com/items", nil)
	if err != nil {
		return nil, err
	}
	return &caller{request, make([]byte, 2*bodyLen)}, nil
}

// send sends the request n times and returns how many complete answers were 200.
func (c *caller) send(rt http.RoundTripper, n int) (met int) {
	for range n {
		resp, err := rt.RoundTrip(c.request)
		if err != nil {
			continue
		}
		length := 0
		for err == nil {
			var read int
			read, err = resp.Body.Read(c.buffer)
			length += read
		}
		if err = resp.Body.Close(); err == nil && resp.StatusCode == http.StatusOK && length == bodyLen {
			met++
		}
	}
	return met
}
